/** Every check, in the order in which findings of the same danger are shown. */
import { archive, restorePoint } from "./archive.ts";
import type { Check } from "./check.ts";
import { clocks, collations, connectionBudget, publicPorts, securityFixes } from "./cluster.ts";
import { cleanupRecords, keptCopies, moveLeftovers, orphanedShards } from "./debris.ts";
import { LOOKS } from "./looks.ts";
import { metadataEqual } from "./metadata.ts";
import {
    caCertificate,
    citusExtension,
    failedRebalance,
    nodeCertificates,
    nodeState,
    referenceTables,
} from "./nodes.ts";
import { invalidIndexes, replicaIdentity, sequences } from "./tables.ts";
import { autovacuum, longTransactions, preparedTransactions, transactionIds } from "./transactions.ts";

export const CHECKS: readonly Check[] = [
    nodeState,
    nodeCertificates,
    caCertificate,
    keptCopies,
    citusExtension,
    failedRebalance,
    preparedTransactions,
    archive,
    restorePoint,
    ...LOOKS,
    metadataEqual,
    replicaIdentity,
    cleanupRecords,
    moveLeftovers,
    orphanedShards,
    invalidIndexes,
    sequences,
    transactionIds,
    longTransactions,
    autovacuum,
    connectionBudget,
    collations,
    clocks,
    publicPorts,
    securityFixes,
    referenceTables,
];
