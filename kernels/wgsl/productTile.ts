/** How a product is cut into tiles, and whether its depth is split: a function of its sizes alone, so that results are too. */

/** A workgroup's tile: `threadRows` × `threadColumns` invocations, each with so many groups of four rows and of four columns. */
export interface Tile {
  readonly threadRows: number
  readonly threadColumns: number
  readonly rowGroups: number
  readonly columnGroups: number
  /** Of both factors in workgroup memory at a time. */
  readonly depth: number
}

/** 128 × 128: 16 products for every element read from workgroup memory's vectors, for large products. */
const large: Tile = { threadRows: 16, threadColumns: 16, rowGroups: 2, columnGroups: 2, depth: 8 }
/** 64 × 64. */
const medium: Tile = { threadRows: 16, threadColumns: 16, rowGroups: 1, columnGroups: 1, depth: 16 }
/** 32 × 32. */
const small: Tile = { threadRows: 8, threadColumns: 8, rowGroups: 1, columnGroups: 1, depth: 16 }
/** 16 × 64 and 64 × 16. */
const flat: Tile = { threadRows: 4, threadColumns: 16, rowGroups: 1, columnGroups: 1, depth: 16 }
const tall: Tile = { threadRows: 16, threadColumns: 4, rowGroups: 1, columnGroups: 1, depth: 16 }

/** Enough workgroups to occupy a large device. */
const enough = 256
/** A split has at least so much depth: shorter ones spend more on their sums than they gain. */
const leastDepth = 128

const workgroups = ({ problems, m, n }: { readonly problems: number; readonly m: number; readonly n: number }, { threadRows, threadColumns, rowGroups, columnGroups }: Tile): number =>
  problems * Math.ceil(m / (4 * rowGroups * threadRows)) * Math.ceil(n / (4 * columnGroups * threadColumns))

export function chooseTile(sizes: { readonly problems: number; readonly m: number; readonly n: number; readonly k: number }): { readonly tile: Tile; readonly splits: number } {
  const { m, n, k } = sizes
  const few = (tile: Tile): boolean => workgroups(sizes, tile) < enough
  const tile = m <= 16 ? flat : n <= 16 ? tall : m <= 32 || n <= 32 ? small : !few(large) ? large : few(medium) && k < 4 * leastDepth ? small : medium
  const splits = few(tile) ? Math.max(1, Math.min(Math.floor((2 * enough) / workgroups(sizes, tile)), Math.floor(k / leastDepth))) : 1
  return { tile, splits }
}
