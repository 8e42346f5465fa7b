/** The resource types that the stand-in knows, by token. */
import type { Kind } from "./kind.ts";
import { compute } from "./kinds/compute.ts";
import { iam } from "./kinds/iam.ts";
import { names } from "./kinds/names.ts";
import { network } from "./kinds/network.ts";
import { secrets } from "./kinds/secrets.ts";
import { storage } from "./kinds/storage.ts";
import { watch } from "./kinds/watch.ts";

export const kinds: Readonly<Record<string, Kind>> = {
    ...network,
    ...compute,
    ...iam,
    ...storage,
    ...names,
    ...secrets,
    ...watch,
};
