/** Names that the program and the scripts share. */

export const SUPERUSER = "postgres";

/** Where clients on this machine find the CA's certificate, relative to the project. */
export function caFile(stack: string): string {
    return `.state/${stack}/ca.crt`;
}
