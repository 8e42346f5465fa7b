/** What AWS asks for, as far as `npm run test:aws` uses it: list prices on demand, in USD, without tax. */
export const PRICES = {
    /** Others differ by some per cent; the dearest ask half as much again. */
    region: "eu-central-1",
    asOf: "2026-11",
    /** An hour of an instance type on Linux, and its vCPUs, of which an account has a quota. */
    machines: {
        "t3.medium": { hour: 0.048, vcpus: 2 },
        "m7i-flex.large": { hour: 0.1147, vcpus: 2 },
    },
    /** A GiB of gp3 for a month. */
    volumeGibMonth: 0.0952,
    /** An hour of a NAT gateway, begun ones in full, and a GB through it. */
    natHour: 0.052,
    natGb: 0.052,
    /** An hour of a public IPv4 address. */
    addressHour: 0.005,
    /** Requests to S3, secrets, alarms, names and some MB of backups: less than this for a run. */
    rest: 0.1,
} as const;

/** Instance types whose price is known. */
export type Priced = keyof typeof PRICES.machines;

export const HOURS_A_MONTH = 730;
