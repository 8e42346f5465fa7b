/** Where the scripts that run on nodes are on this machine: beside the code, wherever it was started. */
import { join } from "node:path";

/** The build puts them at the same place below `dist`. */
export const SCRIPTS_FOLDER: string = join(import.meta.dirname, "..", "..", "scripts", "node");
