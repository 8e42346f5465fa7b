/** Where a cluster is on AWS: in another account or region it would be another, empty one. */

import * as pulumi from "@pulumi/pulumi";
import type { Place } from "../../../provider/identity.ts";
import type { AwsParts } from "../../config/index.ts";
import { getCallerIdentityOutput } from "./sdk.ts";

export function placeOf({ region, kmsKeyId, network }: AwsParts): pulumi.Output<Place> {
    return pulumi
        .all([getCallerIdentityOutput().accountId, kmsKeyId ?? "", network.vpcId ?? network.cidr])
        .apply(([account, key, where]) => ({ account, region, kmsKeyId: key, network: where }));
}
