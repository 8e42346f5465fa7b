/** Where a cluster is on AWS: in another account or region it would be another, empty one. */

import type * as pulumi from "@pulumi/pulumi";
import type { Place } from "../../../provider/identity.ts";
import type { AwsArgs } from "../../config/index.ts";
import { getCallerIdentityOutput } from "./sdk.ts";

export function placeOf({ region, kmsKeyId, network }: AwsArgs): pulumi.Output<Place> {
    return getCallerIdentityOutput().accountId.apply((account) => ({
        account,
        region,
        kmsKeyId: kmsKeyId ?? "",
        network: network.vpcId ?? network.cidr,
    }));
}
