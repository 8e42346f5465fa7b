/** The parts of @pulumi/aws that are used: all of it takes every run, also one on Docker, half a second to load. */
export * as cloudwatch from "@pulumi/aws/cloudwatch/index.js";
export * as ebs from "@pulumi/aws/ebs/index.js";
export * as ec2 from "@pulumi/aws/ec2/index.js";
export { getAvailabilityZonesOutput } from "@pulumi/aws/getAvailabilityZones.js";
export { getCallerIdentityOutput } from "@pulumi/aws/getCallerIdentity.js";
export * as iam from "@pulumi/aws/iam/index.js";
export * as route53 from "@pulumi/aws/route53/index.js";
export * as s3 from "@pulumi/aws/s3/index.js";
export * as secretsmanager from "@pulumi/aws/secretsmanager/index.js";
export * as ssm from "@pulumi/aws/ssm/index.js";
export * as vpc from "@pulumi/aws/vpc/index.js";
