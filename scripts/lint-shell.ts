/** shellcheck over every shell file, where shellcheck is installed; `bash -n` everywhere. */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";

const files = [
    ...globSync(["scripts/node/**/*.sh", "test/aws/*.sh", "test/rehearsal/*/*.sh", "test/rehearsal/bin/*"]),
    ".ci/run",
    "provider/pulumi-resource-citus-clusters",
    "template/provider/pulumi-resource-citus-clusters",
];
const syntax = spawnSync("bash", ["-n", ...files], { stdio: "inherit" });
if (syntax.status !== 0) process.exit(1);
const checked = spawnSync("shellcheck", ["--external-sources", ...files], { stdio: "inherit" });
if (checked.error) console.log("shellcheck is not installed: shell files were only parsed (CI runs it)");
else process.exit(checked.status ?? 1);
