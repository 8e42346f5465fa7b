/** Who may import whom. `npm run check` fails on an arrow that goes up, and on a circle. */
import { dirname } from "node:path";
import { cruise, type ICruiseResult, type IForbiddenRuleType, type IModule } from "dependency-cruiser";

/**
 * The floors, lowest first. A file imports from its own floor and from those below it, never from one above.
 * `docs/architecture.md` says what each is for.
 */
export const FLOORS: readonly string[] = [
    "core/util",
    "core/node",
    "core/sql",
    "core/reach",
    "core/image",
    "core/restore",
    "core/citus",
    "client",
    "core/tenants",
    "components/config",
    "provider",
    "components/resources",
    "components/platforms",
    "components",
    "provider/serve",
    "index.ts",
    "scripts",
    "examples",
    "test",
];

/** @returns a pattern of the files of a floor: those of `components` are not those of `components/config` */
function filesOf(floor: string): string {
    const inner = FLOORS.filter((other) => other.startsWith(`${floor}/`)).map((other) => other.slice(floor.length + 1));
    if (floor.endsWith(".ts")) return `^${floor.replace(".", "\\.")}$`;
    return inner.length === 0 ? `^${floor}/` : `^${floor}/(?!(${inner.join("|")})/)`;
}

const floors: IForbiddenRuleType[] = FLOORS.slice(0, -1).map((floor, index) => ({
    name: `${floor} imports only from below`,
    comment: "Move what both need to a lower floor, or hand it in as an argument.",
    severity: "error",
    from: { path: filesOf(floor) },
    to: { path: FLOORS.slice(index + 1).map(filesOf) },
}));

/** @returns a rule that keeps a package out of files which have no business with it */
const keepOut = (name: string, packages: readonly string[], from: string, pathNot?: string): IForbiddenRuleType => ({
    name,
    severity: "error",
    from: { path: from, ...(pathNot ? { pathNot } : {}) },
    to: { path: `node_modules/(${packages.join("|")})` },
});

const FORBIDDEN: IForbiddenRuleType[] = [
    ...floors,
    {
        name: "a declaration takes types alone from its provider",
        comment: "What a resource does runs in another process than its declaration.",
        severity: "error",
        from: { path: "^components/" },
        to: { path: "^provider/", dependencyTypesNot: ["type-only"] },
    },
    {
        name: "no circles",
        comment: "Two files that need each other are one, or share a third.",
        severity: "error",
        from: {},
        to: { circular: true },
    },
    {
        name: "what is imported is there",
        severity: "error",
        from: {},
        to: { couldNotResolve: true },
    },
    {
        name: "users have what is imported",
        comment: "Put it under dependencies in package.json.",
        severity: "error",
        from: { path: "^(core|client|components|provider|scripts|index\\.ts)" },
        to: { dependencyTypes: ["npm-dev", "npm-no-pkg"] },
    },
    keepOut("core knows no Pulumi", ["@pulumi"], "^core/"),
    keepOut(
        "only the driver and the image know the container engine",
        ["dockerode", "@types/dockerode"],
        "^core/",
        "^core/(reach/docker|image)/",
    ),
    keepOut("only the driver knows the AWS SDK", ["@aws-sdk", "@smithy"], "^core/", "^core/reach/aws/"),
];

/** Where folders that form no circle are: what runs, and what is told apart from it already. */
const APART = /^(client|core|scripts)\//;

/**
 * Folders that import each other, by way of others too. A folder and one inside it are two.
 * @returns each arrow that is part of a circle; move what ties them to the lower of the two
 */
function folderCircles(modules: readonly IModule[]): string[] {
    const arrows = new Map<string, Set<string>>();
    for (const { source, dependencies } of modules)
        for (const { resolved } of dependencies) {
            const [from, to] = [dirname(source), dirname(resolved)];
            if (from !== to && APART.test(`${from}/`) && APART.test(`${to}/`))
                arrows.set(from, (arrows.get(from) ?? new Set()).add(to));
        }
    const reaches = (from: string, wanted: string, seen = new Set<string>()): boolean =>
        [...(arrows.get(from) ?? [])].some((next) => {
            if (next === wanted) return true;
            if (seen.has(next)) return false;
            seen.add(next);
            return reaches(next, wanted, seen);
        });
    return [...arrows]
        .flatMap(([from, all]) => [...all].filter((to) => reaches(to, from)).map((to) => `${from} -> ${to}`))
        .sort()
        .map((arrow) => `no circles of folders: ${arrow}`);
}

/** @returns every import below a folder that breaks a rule, as `rule: from -> to` */
export async function brokenFloors(root: string): Promise<string[]> {
    const { output } = await cruise(["."], {
        baseDir: root,
        validate: true,
        ruleSet: { forbidden: FORBIDDEN },
        doNotFollow: { path: "node_modules" },
        exclude: { path: "^(client/dist|dist|template|bench-results|\\.state)/" },
        tsPreCompilationDeps: true,
        enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "node", "default"] },
    });
    const { modules, summary } = output as ICruiseResult;
    return [
        ...summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`),
        ...folderCircles(modules),
    ];
}
