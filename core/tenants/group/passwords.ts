/** Passwords of tenants' roles: made from one secret, so that 5,000 roles need no 5,000 resources. Pure. */
import { createHash, createHmac } from "node:crypto";
import { scramVerifier } from "../../node/scram.ts";

/** A group's secret, from that of the cluster: a group that left the program and comes back has the passwords that it had. */
export function seedOf(cluster: string, group: string): string {
    return createHmac("sha256", cluster).update(`tenant group ${group}`).digest("base64url");
}

/** Letters, digits, - and _: 32 of them, 192 bits. */
export function passwordOf(seed: string, role: string): string {
    return createHmac("sha256", seed).update(role).digest("base64url").slice(0, 32);
}

/** Changes when the password does, and tells nothing about it. */
export function markOf(seed: string): string {
    return createHash("sha256").update(`mark ${seed}`).digest("hex").slice(0, 16);
}

/** What PostgreSQL stores for the role's password. */
export function verifierOf(seed: string, role: string): string {
    return scramVerifier(
        passwordOf(seed, role),
        createHash("sha256")
            .update(`scram ${markOf(seed)} ${role}`)
            .digest()
            .subarray(0, 16),
    );
}
