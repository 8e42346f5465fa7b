/** What a look at this machine found. */
export interface Finding {
    readonly what: string;
    /** What was found. */
    readonly found: string;
    /** What to do, in lines; empty when all is well. */
    readonly todo: string;
    /** What is well and still should be known, as a sentence. */
    readonly note?: string;
}
