/** Where progress is shown a line for each text, texts come this far apart, in milliseconds. */
const APART = 1000;

/** Hands on what changed, and not more often than a person reads. */
export function paced(say: (text: string) => void): (text: string) => void {
    let last = "";
    let at = 0;
    return (text) => {
        if (text === last || Date.now() - at < APART) return;
        at = Date.now();
        last = text;
        say(text);
    };
}
