/** `2.50 GB`, `38 MB`, `610 kB`. */
export const describeBytes = (bytes: number): string =>
    bytes >= 1e9
        ? `${(bytes / 1e9).toFixed(2)} GB`
        : bytes >= 1e6
          ? `${Math.round(bytes / 1e6)} MB`
          : `${Math.round(bytes / 1e3)} kB`;
