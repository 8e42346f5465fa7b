/** What a connection that failed said. */
import { DatabaseError } from "./session.ts";

/** SQLSTATE invalid_password. */
const WRONG_PASSWORD = "28P01";
/** The password on a node is another one than the stack's: somebody changed it there. */
const NOT_THE_STACKS =
    "the superuser's password on it is not the stack's: npm run pulumi -- up --refresh puts the stack's back (npm run pulumi -- stack output password --show-secrets prints it)";

/** What a connection said, without where it led. */
export const saidBy = (error: unknown): string =>
    error instanceof DatabaseError && error.code === WRONG_PASSWORD
        ? NOT_THE_STACKS
        : (String((error as Error).message)
              .split("\n")
              .at(error instanceof DatabaseError ? 1 : 0)
              ?.trim() ?? "");

/** Whether what {@link saidBy} said tells what to do already. */
export const saysWhatToDo = (why: string): boolean => why === NOT_THE_STACKS;
