/** Configuration of a cluster (`citus:*`, `aws:*`): nothing else reads it, and every mistake is reported at once. */

export { explain, type Mistake } from "../../core/util/mistakes.ts";
export {
    type ClusterArgs,
    type CoordinatorArgs,
    citusImage,
    defaultCitus,
    MAX_WORKERS,
    type MachineArgs,
    NEW_CITUS_VERSION,
    type RebalanceArgs,
    type RestoreFromArgs,
} from "./args.ts";
export type { AwsArgs, AwsNetworkArgs } from "./awsArgs.ts";
export type * from "./input.ts";
export { DEFAULT_INSTANCE_TYPE } from "./machine.ts";
export { type ClusterConfig, readConfig } from "./read.ts";
export { resolve, wrongArguments } from "./resolve.ts";
export { type ConfigSource, sourceOf } from "./source.ts";
export { typeMistake, validate } from "./validate.ts";
