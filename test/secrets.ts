/** Looking for what must not be where everybody may read it. */
import assert from "node:assert/strict";

const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
const VERIFIER = /SCRAM-SHA-256\$4096:[^"]{20}/;

/** A text, and what in it travels in base64, also over several lines and in JSON. */
function readings(text: string): string[] {
    const encoded = [...text.matchAll(/(?:[A-Za-z0-9+/=\n]|\\n){40,}/g)];
    return [text, ...encoded.map(([word]) => Buffer.from(word.replace(/\\n|\n/g, ""), "base64").toString("latin1"))];
}

/**
 * Fails when one of these texts holds a secret of a cluster. What it says shows none.
 * @param secrets by what they are called
 */
export function assertNoSecret(texts: readonly string[], secrets: Readonly<Record<string, string>>): void {
    for (const reading of texts.flatMap(readings)) {
        for (const [name, secret] of Object.entries(secrets)) assert.ok(!reading.includes(secret), name);
        assert.ok(!PRIVATE_KEY.test(reading), "a private key");
        assert.ok(!VERIFIER.test(reading), "a password's verifier");
    }
}
