/** The image that machines are made of: one for all of a cluster, and the same until another is asked for. */

import * as pulumi from "@pulumi/pulumi";
import { Pinned } from "../../resources/pinned.ts";
import type { Scope } from "./scope.ts";
import * as aws from "./sdk.ts";

/** Where Canonical says which image of Ubuntu 24.04 for x86_64 is the newest. */
export const NEWEST = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id";

/** `citus:ami`, or what was the newest when the cluster was made. */
export function machineImage(scope: Scope, parent: pulumi.Resource): pulumi.Output<string> {
    if (scope.aws.ami !== undefined) return pulumi.output(scope.aws.ami);
    const value = aws.ssm
        .getParameterOutput({ name: NEWEST }, { parent })
        .apply((parameter) => parameter.insecureValue);
    return new Pinned(`${scope.prefix}-ami`, { value, until: "" }, { parent }).kept;
}
