/** Processor architectures, as engines and images name them. Pure. */

const NAMES: Readonly<Record<string, "amd64" | "arm64">> = {
    x86_64: "amd64",
    amd64: "amd64",
    aarch64: "arm64",
    arm64: "arm64",
};

/** `amd64` or `arm64`, whichever way it is written; any other as it is. */
export const architectureOf = (written: string): string => NAMES[written.toLowerCase()] ?? written;

/**
 * The platform to build and run for, such as `linux/arm64`.
 * @param architecture `Architecture` of `docker info` or of an image
 */
export const platformOf = (architecture: string): string => `linux/${architectureOf(architecture)}`;
