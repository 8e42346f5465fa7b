/** Whether anything of a run is left in the account, as AWS itself says, and how to remove it by hand. */
import { pause } from "../../core/util/pause.ts";
import { run, works } from "../lib.ts";
import type { Place } from "./admission.ts";
import { TAG } from "./plan.ts";

/** Tags are forgotten some moments after what carried them. */
const TRIES = 8;
const BETWEEN_MS = 15_000;

const as = ({ region, profile }: Place) => [
    "--region",
    region,
    ...(profile === undefined ? [] : ["--profile", profile]),
];

/** Commands of AWS' own that list what a run has left. */
export function listing(
    place: Place,
    name: string,
): Readonly<Record<"tagged" | "machines" | "gateways" | "roles", string[]>> {
    const [tagged, filter] = [`Key=${TAG},Values=${name}`, `Name=tag:${TAG},Values=${name}`];
    const text = [...as(place), "--output", "text"];
    return {
        tagged: [
            "resourcegroupstaggingapi",
            "get-resources",
            "--tag-filters",
            tagged,
            "--query",
            "ResourceTagMappingList[].ResourceARN",
            ...text,
        ],
        machines: [
            "ec2",
            "describe-instances",
            "--filters",
            filter,
            "Name=instance-state-name,Values=pending,running,stopping,stopped",
            "--query",
            "Reservations[].Instances[].InstanceId",
            ...text,
        ],
        gateways: [
            "ec2",
            "describe-nat-gateways",
            "--filter",
            filter,
            "Name=state,Values=pending,available,failed",
            "--query",
            "NatGateways[].NatGatewayId",
            ...text,
        ],
        // roles can't be listed by tag
        roles: [
            "iam",
            "list-roles",
            "--query",
            `Roles[?Description && contains(Description, 'Citus cluster ${name}')].Arn`,
            ...text,
        ],
    };
}

const words = (text: string) => text.split(/\s+/).filter((word) => word !== "" && word !== "None");

/**
 * What is really there: machines and NAT gateways that have ended are listed by their tags for an hour.
 * @param tagged ARNs
 * @param live ids of the machines and gateways that have not ended
 */
export function stillThere(tagged: readonly string[], live: readonly string[]): string[] {
    const ends = /:(?:instance|natgateway)\/([^/]+)$/;
    return tagged.filter((arn) => {
        const id = ends.exec(arn)?.[1];
        return id === undefined || live.includes(id);
    });
}

/** ARNs of what is left; or why that is not known. */
export async function leftovers(place: Place, name: string): Promise<{ left: string[] } | { unknown: string }> {
    if (!works("aws", ["--version"])) return { unknown: "AWS' command line is not on PATH" };
    const commands = listing(place, name);
    const ask = async (args: readonly string[]) => {
        const ran = await run("aws", args, { cwd: "." });
        if (ran.code !== 0) throw new Error(`aws ${args.slice(0, 2).join(" ")}: ${ran.stderr.trim()}`);
        return words(ran.stdout);
    };
    try {
        for (let attempt = 1; ; attempt++) {
            const live = [...(await ask(commands.machines)), ...(await ask(commands.gateways))];
            const left = [...stillThere(await ask(commands.tagged), live), ...(await ask(commands.roles))];
            if (left.length === 0 || attempt === TRIES) return { left };
            await pause(BETWEEN_MS);
        }
    } catch (error) {
        return { unknown: (error as Error).message };
    }
}

const shown = (args: readonly string[]) =>
    ["aws", ...args.map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `"${arg}"`))].join(" ");

/**
 * How a person looks for what is left and removes it.
 * @param dir the copy of the project with the run's state
 * @param stacks that Pulumi may still know something of: the copy that was restored before the one that it came from
 */
export function byHand(place: Place, name: string, dir: string, stacks: readonly string[]): string {
    const commands = listing(place, name);
    return [
        ...(stacks.length === 0 ? [] : ["destroy   with the run's own state:"]),
        ...stacks.map(
            (stack) => `  (cd ${dir} && npm run pulumi -- destroy --yes --skip-preview --refresh --stack ${stack})`,
        ),
        `look      for what carries ${TAG}=${name}, and its roles:`,
        `  ${shown(commands.tagged)}`,
        `  ${shown(commands.roles)}`,
        "then      end machines first, then NAT gateways, volumes, the bucket, secrets, alarms, the zone, roles, and the VPC last;",
        "          machines have termination protection: aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id i-…",
    ].join("\n");
}
