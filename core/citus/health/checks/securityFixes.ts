/**
 * Which PostgreSQL minor fixed which CVE, from the announcements at https://www.postgresql.org/support/security. A release that
 * is newer than this table is not known here, so a check says its date.
 */
export const KNOWN_UNTIL = "2026-08-25";

interface Fixed {
    readonly release: string;
    /** Their numbers, or how many there are. */
    readonly cves: readonly string[];
}

const FIXED: readonly Fixed[] = [
    { release: "17.1", cves: ["CVE-2024-10976", "CVE-2024-10977", "CVE-2024-10978", "CVE-2024-10979"] },
    { release: "17.3", cves: ["CVE-2025-1094"] },
    { release: "17.5", cves: ["CVE-2025-4207"] },
    { release: "17.6", cves: ["CVE-2025-8713", "CVE-2025-8714", "CVE-2025-8715"] },
    { release: "17.7", cves: ["CVE-2025-12817", "CVE-2025-12818"] },
    { release: "17.8", cves: ["CVE-2026-2003", "CVE-2026-2004", "CVE-2026-2005", "CVE-2026-2006"] },
    {
        release: "17.10",
        cves: [
            "CVE-2026-6472",
            "CVE-2026-6473",
            "CVE-2026-6474",
            "CVE-2026-6475",
            "CVE-2026-6476",
            "CVE-2026-6477",
            "CVE-2026-6478",
            "CVE-2026-6479",
            "CVE-2026-6575",
            "CVE-2026-6637",
            "CVE-2026-6638",
        ],
    },
    { release: "17.11", cves: ["28 CVEs of 2026-08-13"] },
];

const parts = (version: string) => version.split(".").map(Number);

/** Releases of the same major that fixed something and are newer. Pure. */
export function fixesSince(version: string): readonly Fixed[] {
    const [major, minor = 0] = parts(version);
    return FIXED.filter(({ release }) => {
        const [fixedMajor, fixedMinor = 0] = parts(release);
        return fixedMajor === major && fixedMinor > minor;
    });
}

/** The newest release with fixes, by major. */
export const NEWEST_FIXED: Readonly<Record<string, string>> = Object.fromEntries(
    FIXED.map(({ release }) => [release.split(".")[0] ?? "", release]),
);
