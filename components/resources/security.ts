/** Passwords, the cluster's own CA, and one certificate a node. */
import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import * as tls from "@pulumi/tls";
import { NO_REPOSITORY } from "../../core/node/archive.ts";
import { scramVerifier } from "../../core/node/scram.ts";
import type { NodeSpec } from "../../core/node/topology.ts";
import type { Place } from "../../provider/identity.ts";
import { Identity } from "./identity.ts";

const HOURS_A_YEAR = 8766;

/** A value that holds a passphrase when there is one. */
export function secretWith<T>(passphrase: unknown, value: pulumi.Output<T>): pulumi.Output<T> {
    return passphrase === undefined ? value : (pulumi.secret(value) as pulumi.Output<T>);
}

/** The passphrase of a repository, as what is rendered from it takes it. */
export const passphraseOf = (
    passphrase: pulumi.Input<string> | undefined,
): pulumi.Output<{ backupPassphrase?: string }> =>
    passphrase === undefined
        ? pulumi.output({})
        : pulumi.output(passphrase).apply((backupPassphrase) => ({ backupPassphrase }));

export interface NodeCertificate {
    readonly certificate: pulumi.Output<string>;
    /** PEM, secret. */
    readonly privateKey: pulumi.Output<string>;
}

/** What identifies a cluster and lets people and nodes in. */
export class Security extends pulumi.ComponentResource {
    /** Random; marks the stack's volumes and nodes as its own. */
    readonly clusterId: pulumi.Output<string>;
    /** Citus in full: the cluster's own default, of the day on which it was made. */
    readonly defaultCitus: pulumi.Output<string>;
    /** The superuser's password, secret. */
    readonly password: pulumi.Output<string>;
    /** What passwords of tenants are made from, secret. */
    readonly tenantsSeed: pulumi.Output<string>;
    /** What a node stores instead of the password, secret. */
    readonly verifier: pulumi.Output<string>;
    readonly caCertificate: pulumi.Output<string>;
    private readonly caKey: tls.PrivateKey;
    private readonly prefix: string;
    private readonly identity: Identity;

    constructor(
        name: string,
        args: {
            readonly cluster: string;
            readonly database: string;
            readonly platform: string;
            /** On AWS. */
            readonly place?: pulumi.Input<Place>;
            /** What the repository is encrypted with; undefined while nothing uses it. */
            readonly repository?: { readonly passphrase: pulumi.Input<string> | undefined };
        },
        opts?: pulumi.ComponentResourceOptions,
    ) {
        super("citus:index:Security", name, {}, opts);
        const child = { parent: this };
        this.prefix = name;
        const id = new random.RandomId(`${name}-id`, { byteLength: 8 }, child).hex;
        const { cluster, database, platform } = args;
        const identity = new Identity(
            `${name}-identity`,
            {
                name: cluster,
                database,
                platform,
                ...(args.place === undefined ? {} : { place: args.place }),
                clusterId: id,
                citusVersion: "",
                passphrase: args.repository ? pulumi.secret(args.repository.passphrase ?? "") : NO_REPOSITORY,
            },
            child,
        );
        this.identity = identity;
        this.clusterId = identity.clusterId;
        this.defaultCitus = identity.citusVersion;
        // letters and digits only: it has to live in a URL
        this.password = new random.RandomPassword(`${name}-password`, { length: 32, special: false }, child).result;
        // here, as a group of tenants comes and goes with the program
        this.tenantsSeed = new random.RandomPassword(`${name}-tenants`, { length: 48, special: false }, child).result;
        this.verifier = pulumi.secret(
            pulumi
                .all([this.password, this.clusterId])
                .apply(([password, id]) =>
                    scramVerifier(password, createHash("sha256").update(`scram ${id}`).digest().subarray(0, 16)),
                ),
        );
        this.caKey = new tls.PrivateKey(`${name}-ca`, { algorithm: "ECDSA", ecdsaCurve: "P256" }, child);
        const ca = new tls.SelfSignedCert(
            `${name}-ca`,
            {
                privateKeyPem: this.caKey.privateKeyPem,
                isCaCertificate: true,
                setSubjectKeyId: true,
                setAuthorityKeyId: true,
                allowedUses: ["cert_signing", "crl_signing"],
                validityPeriodHours: 10 * HOURS_A_YEAR,
                subject: { commonName: this.accepted(`${args.cluster} CA`) },
            },
            child,
        );
        this.caCertificate = ca.certPem;
        this.registerOutputs({ caCertificate: this.caCertificate });
    }

    /** A value that is only used once the identity is known to be unchanged. */
    private accepted<T>(value: T): pulumi.Output<T> {
        return this.identity.clusterId.apply(() => value) as pulumi.Output<T>;
    }

    /** A certificate for one node, valid for a year and renewed by the first `pulumi up` in its second half. */
    certify(node: NodeSpec): NodeCertificate {
        const child = { parent: this };
        const name = `${this.prefix}-${node.name}`;
        const key = new tls.PrivateKey(name, { algorithm: "ECDSA", ecdsaCurve: "P256" }, child);
        const request = new tls.CertRequest(
            name,
            {
                privateKeyPem: key.privateKeyPem,
                subject: { commonName: this.accepted(node.host) },
                dnsNames: [node.host, "localhost"],
                ipAddresses: ["127.0.0.1"],
            },
            child,
        );
        const certificate = new tls.LocallySignedCert(
            name,
            {
                certRequestPem: request.certRequestPem,
                caPrivateKeyPem: this.caKey.privateKeyPem,
                caCertPem: this.caCertificate,
                // a node is a server to some and a client to others with the same certificate
                allowedUses: ["server_auth", "client_auth", "digital_signature"],
                validityPeriodHours: HOURS_A_YEAR,
                earlyRenewalHours: HOURS_A_YEAR / 2,
            },
            child,
        );
        return { certificate: certificate.certPem, privateKey: key.privateKeyPem };
    }
}
