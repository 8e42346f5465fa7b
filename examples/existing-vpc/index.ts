import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { CitusCluster } from "citus-clusters-as-code";

const config = new pulumi.Config();
const vpcId = config.require("vpcId");

/** Who may connect: everything that is in this group. */
const application = new aws.ec2.SecurityGroup("application", { vpcId });

/** Workers in subnets that are there and carry nothing else, encrypted with a key of this program. */
const key = new aws.kms.Key("orders", { description: "Volumes, backups and secrets of the cluster orders" });
const cluster = new CitusCluster("orders", {
    platform: "aws",
    workers: 3,
    kmsKeyId: key.arn,
    network: {
        vpcId,
        subnetIds: config.requireObject<string[]>("subnetIds"),
        allowedSecurityGroups: [application.id],
    },
    connection: "ssm",
});

export const { status, coordinator } = cluster;
