/** The platforms. It imports nothing, so that everything may import it. */

export const PLATFORMS = ["docker", "aws"] as const;
export type PlatformName = (typeof PLATFORMS)[number];
