/** The CA's certificate as a file: psql and its like take no other. It is no secret. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { projectFolder } from "./config/tenants/project.ts";

/** @param file relative to the folder of Pulumi.yaml */
export function keepCertificate(file: string, certificate: pulumi.Output<string>): void {
    certificate.apply((text) => {
        if (pulumi.runtime.isDryRun()) return;
        const path = resolve(projectFolder(), file);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, text);
    });
}
