/** From where on something is said. */
export interface Limits {
    /** Days that a node's certificate has left. */
    readonly certificateDays: number;
    /** Days that the CA's certificate has left. */
    readonly caDays: number;
    /** Transaction ids and multixacts since the oldest that is not frozen, to act on. */
    readonly transactionIds: number;
    /** The same, where it is dangerous: PostgreSQL refuses writes at about two thousand million. */
    readonly transactionIdsDanger: number;
    /** Seconds that the clocks of two nodes may be apart. */
    readonly clockSeconds: number;
    readonly clockSecondsDanger: number;
    /** Seconds that a statement may run. */
    readonly transactionSeconds: number;
    /** Part of a sequence's numbers that is used. */
    readonly sequenceUsed: number;
    readonly sequenceUsedDanger: number;
    /** Part of a node's connections that is in use. */
    readonly connectionsUsed: number;
    /** Days until the disk is full, at the rate since an earlier look. */
    readonly diskDays: number;
    readonly diskDaysDanger: number;
    /** Part of the disk that is free. */
    readonly diskFree: number;
}

export const LIMITS: Limits = {
    certificateDays: 30,
    caDays: 365,
    transactionIds: 500_000_000,
    transactionIdsDanger: 1_000_000_000,
    clockSeconds: 0.1,
    clockSecondsDanger: 5,
    transactionSeconds: 3600,
    sequenceUsed: 0.8,
    sequenceUsedDanger: 0.95,
    connectionsUsed: 0.8,
    diskDays: 30,
    diskDaysDanger: 3,
    diskFree: 0.05,
};
