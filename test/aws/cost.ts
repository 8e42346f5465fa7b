/** What a run is expected to cost. Pure. */
import {
    BOOTS,
    FIRST_TYPE,
    MORE_WORKERS,
    OTHER_TYPE,
    STAGES,
    type Stage,
    type Standing,
    TAG,
    WORKERS,
} from "./plan.ts";
import { HOURS_A_MONTH, PRICES } from "./prices.ts";

/** GB that a machine fetches through the NAT gateway when it boots: package lists and packages. */
const BOOT_GB = 0.4;

/** USD. */
export interface Cost {
    readonly machines: number;
    readonly volumes: number;
    /** NAT gateways, their addresses, and what goes through them. */
    readonly networks: number;
    readonly rest: number;
    readonly total: number;
}

const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0);

const machinesHour = ({ machines }: Standing) => sum(machines.map((type) => PRICES.machines[type].hour));
const volumesHour = ({ gib }: Standing) => (gib * PRICES.volumeGibMonth) / HOURS_A_MONTH;
const networkHour = PRICES.natHour + PRICES.addressHour;

/** @param boots machines that are started in all */
export function expectedCost(stages: readonly Stage[], boots: number): Cost {
    const over = (hour: (cluster: Standing) => number) =>
        sum(stages.map(({ minutes, clusters }) => (minutes / 60) * sum(clusters.map(hour))));
    // a network stands from the first stage that has it to the last, and begun hours count in full
    const most = Math.max(0, ...stages.map(({ clusters }) => clusters.length));
    const hours = Array.from({ length: most }, (_, i) =>
        Math.ceil(sum(stages.filter(({ clusters }) => clusters.length > i).map(({ minutes }) => minutes)) / 60),
    );
    const machines = over(machinesHour);
    const volumes = over(volumesHour);
    const networks = sum(hours) * networkHour + boots * BOOT_GB * PRICES.natGb;
    return { machines, volumes, networks, rest: PRICES.rest, total: machines + volumes + networks + PRICES.rest };
}

/** USD a day of what stands at most, if it is never destroyed. */
export function forgottenDay(stages: readonly Stage[]): number {
    const hour = (cluster: Standing) => machinesHour(cluster) + volumesHour(cluster) + networkHour;
    return 24 * Math.max(0, ...stages.map(({ clusters }) => sum(clusters.map(hour))));
}

/** vCPUs at most at a time. */
export function mostVcpus(stages: readonly Stage[]): number {
    const of = ({ machines }: Standing) => sum(machines.map((type) => PRICES.machines[type].vcpus));
    return Math.max(0, ...stages.map(({ clusters }) => sum(clusters.map(of))));
}

export const minutesOf = (stages: readonly Stage[]) => sum(stages.map(({ minutes }) => minutes));

const usd = (amount: number) => amount.toFixed(2);

/** What a person reads before anything is made. */
export function announcement(run: string): string {
    const cost = expectedCost(STAGES, BOOTS);
    return [
        `npm run test:aws makes a cluster of 1 + ${WORKERS} to 1 + ${MORE_WORKERS} machines (${FIRST_TYPE}, later ${OTHER_TYPE} workers) and a restored copy,`,
        `each in a VPC of its own with a NAT gateway, checks them, and destroys them. Everything is tagged ${TAG}=${run}.`,
        "",
        `  takes   about ${minutesOf(STAGES)} minutes, ${mostVcpus(STAGES)} vCPUs at most (quota: Running On-Demand Standard instances)`,
        `  costs   about ${usd(cost.total)} USD: machines ${usd(cost.machines)}, volumes ${usd(cost.volumes)}, NAT gateways ${usd(cost.networks)}, the rest ${usd(cost.rest)}`,
        `          (list prices of ${PRICES.region}, ${PRICES.asOf}; other regions differ; without tax)`,
        `  beware  what is not destroyed goes on to cost up to ${usd(forgottenDay(STAGES))} USD a day: read its last lines`,
    ].join("\n");
}
