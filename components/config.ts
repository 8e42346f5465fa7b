/** Configuration of a cluster (`citus:*`, `aws:*`): nothing else reads it, and every mistake is reported at once. */
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
} from "./config/args.ts";
export type { AwsArgs, AwsNetworkArgs } from "./config/awsArgs.ts";
export { explain, type Mistake } from "./config/mistakes.ts";
export { readConfig } from "./config/read.ts";
export { type ConfigSource, sourceOf } from "./config/source.ts";
export { validate } from "./config/validate.ts";
