/** The Citus image that tests and benchmarks run on, whatever the default is. */
import { execFileSync } from "node:child_process";

const docker = (...args: string[]) =>
    execFileSync("docker", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

/** Of image names the `citusdata/citus:*-pg17` with the highest version; undefined when there is none. Pure. */
export function newestOf(names: readonly string[]): string | undefined {
    const versionOf = (name: string) =>
        /^citusdata\/citus:([0-9]+)\.([0-9]+)\.([0-9]+)-pg17$/.exec(name)?.slice(1).map(Number);
    return names
        .flatMap((name) => {
            const version = versionOf(name);
            return version === undefined ? [] : [{ name, version }];
        })
        .sort((a, b) => {
            const at = a.version.findIndex((part, i) => part !== b.version[i]);
            return at < 0 ? 0 : (b.version[at] ?? 0) - (a.version[at] ?? 0);
        })[0]?.name;
}

let chosen: string | undefined;

/** The image, `CITUS_TEST_IMAGE` or the newest `citusdata/citus:*-pg17` on this machine; undefined when there is none. */
export function findTestImage(): string | undefined {
    chosen ??=
        process.env.CITUS_TEST_IMAGE ??
        newestOf(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split("\n"));
    return chosen;
}

export const IMAGE_MISSING =
    "an image with PostgreSQL 17 and Citus (docker pull citusdata/citus:14.1.0-pg17, or CITUS_TEST_IMAGE)";

/** @throws Error when there is none */
export function testImage(): string {
    const image = findTestImage();
    if (image === undefined) throw new Error(`missing: ${IMAGE_MISSING}`);
    return image;
}

/** The image's Citus in full, such as `14.0.1`, as the image itself says. */
export function testCitus(): string {
    const environment = docker(
        "image",
        "inspect",
        "--format",
        "{{range .Config.Env}}{{println .}}{{end}}",
        testImage(),
    );
    const version = /^CITUS_VERSION=([0-9]+\.[0-9]+\.[0-9]+)/m.exec(environment)?.[1];
    if (version === undefined) throw new Error(`${testImage()} does not say which Citus it has (CITUS_VERSION)`);
    return version;
}
