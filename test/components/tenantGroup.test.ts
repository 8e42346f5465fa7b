/** What a group of tenants consists of: what it is given, what it waits for, and what is secret. */
import assert from "node:assert/strict";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, beforeAll, describe, test } from "vitest";
import type { CitusCluster } from "../../components/cluster.ts";
import type { TenantGroupSettings } from "../../components/config/tenants/args.ts";
import type { TenantGroup } from "../../components/tenantGroup.ts";
import { passwordOf, seedOf } from "../../core/tenants/group/passwords.ts";
import { pause } from "../../core/util/pause.ts";
import type { TenantGroupInputs } from "../../provider/tenantGroup.ts";
import { abandon, build, type Indexed, indexed, mock, PASSWORD, registeredSoFar, resolved } from "./mocks.ts";

process.chdir(join(import.meta.dirname, "..", ".."));
await mock();
afterAll(abandon);
const { CitusCluster: Cluster } = await import("../../components/cluster.ts");
const { DatabaseTenants, RowTenants, SchemaTenants, tenantGroup } = await import("../../components/tenantGroup.ts");

const GROUP = "citus-clusters:index:TenantGroup";

async function make(groups: Readonly<Record<string, TenantGroupSettings>>) {
    const { made, resources } = await build(() => {
        const cluster = new Cluster("citus");
        return Object.entries(groups).map(([name, settings]) => tenantGroup(name, cluster, settings));
    });
    return { groups: made, ...indexed(resources) };
}

describe("one group", () => {
    let built: Indexed & { groups: TenantGroup[] };
    let given: TenantGroupInputs;
    beforeAll(async () => {
        built = await make({ clinics: { model: "schema", tenants: { acme: {}, globex: { node: "worker-2" } } } });
        given = built.one(GROUP).inputs as unknown as TenantGroupInputs;
    });

    test("is one resource for all its tenants, and leaves no secret behind when it goes: that is the cluster's", () => {
        const own = built.all.filter(({ parent }) => parent.endsWith("citus:index:TenantGroup::clinics"));
        assert.deepEqual(
            own.map(({ type, name }) => `${type} ${name}`),
            [`${GROUP} clinics-tenants`],
        );
        assert.equal(given.seed, seedOf(PASSWORD, "clinics"));
        assert.notEqual(given.seed, seedOf(PASSWORD, "billing"));
    });

    test("is given its specification and every node, the coordinator first", () => {
        assert.deepEqual(given.group.tenants, { acme: { role: true }, globex: { node: "worker-2", role: true } });
        assert.deepEqual(
            given.nodes.map(({ name, host, port, address }) => [name, host, port, address.host]),
            [
                ["coordinator", "coordinator.citus-dev.node", 5432, "localhost"],
                ["worker-1", "worker-1.citus-dev.node", 5432, "localhost"],
                ["worker-2", "worker-2.citus-dev.node", 5432, "localhost"],
            ],
        );
        assert.equal(given.exports, ".state/dev/exports");
    });

    test("what holds a password is secret", () => {
        assert.deepEqual([...built.one(GROUP).secrets].sort(), ["nodes", "seed"]);
    });

    test("goes with the coordinator's data: a destroy of the whole cluster is no group that left the program", () => {
        const volume = built.one("docker:index/volume:Volume", "citus-coordinator-data");
        assert.ok(built.one(GROUP).request.getDeletedwith().endsWith(`::${volume.name}`));
    });

    test("waits until the shards are in their place", () => {
        const [placement] = built.of("citus-clusters:index:Placement");
        assert.ok(
            built
                .one(GROUP)
                .request.getDependenciesList()
                .includes(placement?.urn ?? ""),
        );
    });

    test("tells a tenant's password, which is its role's own", async () => {
        const [group] = built.groups;
        assert.ok(group);
        const { role, password, connectionString } = group.tenant("acme").login;
        assert.equal(role, "clinics_acme");
        assert.equal(await resolved(password), passwordOf(seedOf(PASSWORD, "clinics"), "clinics_acme"));
        const url = new URL((await resolved(connectionString)) ?? "");
        assert.deepEqual([url.username, url.password], [role, await resolved(password)]);
        assert.equal(url.searchParams.get("sslmode"), "verify-full");
        for (const secret of [password, connectionString]) assert.equal(await pulumi.isSecret(secret), true);
    });

    test("tells no password of a tenant that is not there", () => {
        const [group] = built.groups;
        assert.throws(() => group?.tenant("amce"), /TenantGroup clinics: it has no tenant amce\. It has acme, globex/);
    });
});

async function inProgram(program: (cluster: CitusCluster) => void): Promise<Indexed> {
    const { resources } = await build(() => program(new Cluster("citus")));
    return indexed(resources);
}

const rows = { anchor: "companies", tables: { companies: { distributeBy: "id" } } };

test("settings may come from other resources", async () => {
    const { one } = await inProgram((cluster) => {
        const known = pulumi.output({ "42": { values: { name: pulumi.output("Acme") } } });
        new RowTenants("billing", { cluster, ...rows, tenants: known });
    });
    const { group } = one(GROUP).inputs as unknown as TenantGroupInputs;
    assert.deepEqual(group.tenants, { "42": { values: { name: "Acme" } } });
});

test("a tenant of a group is what another takes", async () => {
    const { of } = await inProgram((cluster) => {
        const billing = new RowTenants("billing", { cluster, ...rows, tenants: { "17": {} } });
        new SchemaTenants("clinics", { cluster, tenants: { acme: { from: billing.tenant("17") } } });
    });
    const groups = of(GROUP).map(({ inputs }) => (inputs as unknown as TenantGroupInputs).group);
    assert.deepEqual(groups.find(({ name }) => name === "clinics")?.tenants.acme?.from, {
        group: "billing",
        tenant: "17",
    });
});

// what is refused leaves resources that wait for as long as the process lives: from here on nothing is made whole
test("mistakes are said at once, also between groups", async () => {
    const failed = await make({
        one: { model: "schema", tenants: { acme: {} } },
        two: { model: "schema", tenants: { acme: {}, public: {} } },
    }).then(
        () => undefined,
        (error: Error) => error,
    );
    assert.match(failed?.message ?? "", /^The program has 2 mistakes:\n {2}TenantGroup two: tenants\.public must be /);
    assert.match(failed?.message ?? "", /\n {2}TenantGroup two: tenants\.acme is a tenant of group one too/);
});

test("a node that the cluster does not have is a mistake", async () => {
    await assert.rejects(
        make({ one: { model: "schema", tenants: { acme: { node: "worker-3" } } } }),
        /^Error: The program has a mistake:\n {2}TenantGroup one: tenants\.acme\.node must be one of worker-1, worker-2, got "?worker-3/,
    );
    await assert.rejects(
        make({ "One.two": { model: "schema" } }),
        /\n {2}TenantGroup One\.two: must be named by lower-case letters/,
    );
});

// the last one here: one of its resources is waited for as long as the process lives
test("what is wrong between two groups stops the first one too, although it was right when it was made", async () => {
    let refused: unknown;
    void build(() => {
        const cluster = new Cluster("citus");
        try {
            new SchemaTenants("old", { cluster, tenants: { acme: { state: "deleted" } } });
            new DatabaseTenants("new", { cluster, tenants: { acme: { from: "old/acme" } } });
        } catch (error) {
            refused = error;
        }
    });
    const settled = () => indexed(registeredSoFar()).of("citus-clusters:index:Placement").length > 0;
    for (const end = Date.now() + 10_000; !settled() && Date.now() < end; ) await pause(20);
    await pause(200);
    assert.ok(settled());
    assert.match(String(refused), /TenantGroup new: tenants\.acme\.from takes old\/acme, which is deleted there/);
    assert.deepEqual(indexed(registeredSoFar()).of(GROUP), []);
});
