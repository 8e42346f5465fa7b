/** Base images with PostgreSQL 17 that Docker Hub has. */

/** When the list was looked up. */
export const LISTED = "2026-11";

/** Newest last. All are Debian, and amd64 only. */
export const BASE_IMAGES = [
    "citusdata/citus:14.0.0-pg17",
    "citusdata/citus:14.1.0-pg17",
    "citusdata/citus:14.2.0-pg17",
] as const;

/** Whether an image is one of Citus' own, which are made for one architecture. */
export const isCitusImage = (image: string): boolean => /^(docker\.io\/)?citusdata\/citus[:@]/.test(image);

/** What Citus' own images are made for. */
export const BASE_ARCHITECTURE = "amd64";
