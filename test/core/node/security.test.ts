/** The SCRAM verifier that nodes are given instead of the password. */
import assert from "node:assert/strict";
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import fc from "fast-check";
import { describe, test } from "vitest";
import { scramVerifier } from "../../../core/node/scram.ts";

describe("scramVerifier", () => {
    test("is the known answer of RFC 7677", () => {
        assert.equal(
            scramVerifier("pencil", Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64")),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        );
    });

    test("checks RFC 7677's own client proof and server signature", () => {
        const [, secrets = ""] = scramVerifier("pencil", Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"))
            .split("$")
            .slice(1);
        const [stored = "", server = ""] = secrets.split(":");
        const authMessage =
            "n=user,r=rOprNGfwEbeRWgbNEkqO," +
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        const signature = createHmac("sha256", Buffer.from(stored, "base64")).update(authMessage).digest();
        const proof = Buffer.from("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "base64");
        const clientKey = Buffer.from(proof.map((byte, i) => byte ^ (signature[i] ?? 0)));
        assert.equal(createHash("sha256").update(clientKey).digest("base64"), stored);
        assert.equal(
            createHmac("sha256", Buffer.from(server, "base64")).update(authMessage).digest("base64"),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
    });

    test("has the form that PostgreSQL takes as a verifier, and never the password", () => {
        const password = fc.stringMatching(/^[A-Za-z0-9]{12,32}$/);
        fc.assert(
            fc.property(password, fc.uint8Array({ minLength: 16, maxLength: 16 }), (clear, salt) => {
                const verifier = scramVerifier(clear, Buffer.from(salt));
                assert.match(
                    verifier,
                    /^SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$/,
                );
                assert.ok(!verifier.includes(clear));
                assert.equal(verifier, scramVerifier(clear, Buffer.from(salt)));
            }),
            { numRuns: 20 },
        );
    });

    test("another password or salt gives another verifier", () => {
        const salt = Buffer.alloc(16, 1);
        const one = scramVerifier("one", salt);
        assert.notEqual(scramVerifier("two", salt), one);
        assert.notEqual(scramVerifier("one", Buffer.alloc(16, 2)), one);
    });

    test("stores a hash of the client key, not the key", () => {
        const salt = Buffer.alloc(16, 3);
        const salted = pbkdf2Sync("secret", salt, 4096, 32, "sha256");
        const clientKey = createHmac("sha256", salted).update("Client Key").digest("base64");
        assert.ok(!scramVerifier("secret", salt).includes(clientKey));
    });
});
