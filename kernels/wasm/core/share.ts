/** The size of equal parts of `size`, as few as have at most `limit` each, rounded up to whole units. */
export const share = (size: number, limit: number, unit = 1): number => Math.max(1, Math.ceil(size / Math.max(1, Math.ceil(size / limit)) / unit)) * unit
