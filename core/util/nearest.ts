/** The nearest known word, for a mistyped one. */
export function nearest(word: string, words: readonly string[]): string | undefined {
    const distance = (a: string, b: string) => {
        let row = Array.from({ length: b.length + 1 }, (_, i) => i);
        for (let i = 1; i <= a.length; i++) {
            const next = [i];
            for (let j = 1; j <= b.length; j++) {
                const cost = a[i - 1] === b[j - 1] ? 0 : 1;
                next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + cost));
            }
            row = next;
        }
        return row[b.length] ?? 0;
    };
    return words
        .map((candidate) => ({ candidate, far: distance(word.toLowerCase(), candidate.toLowerCase()) }))
        .filter(({ candidate, far }) => far <= 3 && far < candidate.length / 2)
        .sort((a, b) => a.far - b.far)[0]?.candidate;
}
