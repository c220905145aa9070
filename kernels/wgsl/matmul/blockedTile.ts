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

/** 128 × 128: four products for every element read from workgroup memory; the others have two. */
const large: Tile = { threadRows: 16, threadColumns: 16, rowGroups: 2, columnGroups: 2, depth: 8 }
/** 64 × 64. */
const medium: Tile = { threadRows: 16, threadColumns: 16, rowGroups: 1, columnGroups: 1, depth: 16 }
/** 32 × 32. */
const small: Tile = { threadRows: 8, threadColumns: 8, rowGroups: 1, columnGroups: 1, depth: 16 }
/** 16 × 64 and 64 × 16. */
const flat: Tile = { threadRows: 4, threadColumns: 16, rowGroups: 1, columnGroups: 1, depth: 16 }
const tall: Tile = { threadRows: 16, threadColumns: 4, rowGroups: 1, columnGroups: 1, depth: 16 }

/** 4 × 128 and 128 × 4: a matrix by a vector, or by a few, where what counts is to have much of the matrix on its way. */
const thin: Tile = { threadRows: 1, threadColumns: 32, rowGroups: 1, columnGroups: 1, depth: 16 }
const narrow: Tile = { threadRows: 32, threadColumns: 1, rowGroups: 1, columnGroups: 1, depth: 16 }

/** Enough workgroups to occupy a large device. */
const enough = 256
/** A split has at least so much depth: shorter ones spend more on their sums than they gain. */
const leastDepth = 128

/** Parts of so much depth are worth large tiles even where there are few. */
const largeDepth = 1024
/** More of a large tile than this is not left empty for its speed. */
const mostPadding = 1.3

interface Sizes {
  readonly problems: number
  readonly m: number
  readonly n: number
  readonly k: number
}

const tileRows = ({ rowGroups, threadRows }: Tile): number => 4 * rowGroups * threadRows
const tileColumns = ({ columnGroups, threadColumns }: Tile): number => 4 * columnGroups * threadColumns
const workgroups = ({ problems, m, n }: Sizes, tile: Tile): number => problems * Math.ceil(m / tileRows(tile)) * Math.ceil(n / tileColumns(tile))

export function chooseTile(sizes: Sizes): { readonly tile: Tile; readonly splits: number } {
  const tile = tileOf(sizes)
  const count = workgroups(sizes, tile)
  // Of the large ones a processor holds half as many.
  const wanted = tile === large ? enough : 2 * enough
  const splits = count < enough ? Math.max(1, Math.min(Math.floor(wanted / count), Math.floor(sizes.k / leastDepth))) : 1
  return { tile, splits }
}

function tileOf(sizes: Sizes): Tile {
  const { m, n, k } = sizes
  if (m <= 4) return thin
  if (n <= 4) return narrow
  if (m <= 16) return flat
  if (n <= 16) return tall
  if (m <= 32 || n <= 32) return small
  const covered = (tile: Tile): number => workgroups(sizes, tile) * tileRows(tile) * tileColumns(tile)
  if (workgroups(sizes, large) * Math.max(1, Math.floor(k / largeDepth)) >= enough && covered(large) <= mostPadding * covered(medium)) return large
  return workgroups(sizes, medium) >= enough || k >= 4 * leastDepth ? medium : small
}
