/** How the gradient of a convolution's weights is cut into tiles, blocks of positions and passes; by sizes alone. */
import type { ConvDescriptor } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import { share } from '../core/share.ts'
import { entryBytes } from './tapLists.ts'

const most = {
  /** Of a tile: twelve 256-bit sums, a row of the other side and an element fill the vector registers. */
  rows: 6,
  /** Positions in a block: a panel of as many fits the L1 cache. */
  positions: 256,
  /** But some lines go together, since blocks that are neighbours copy the lines between them twice. */
  lines: 4,
  linePositions: 1024,
  /** Tiles in a pass: what the L2 cache holds. */
  tiles: 2048,
  /** Channels of x that are worth merging; more make positions lie too far apart. */
  merged: 16,
  listBytes: 256 * 1024,
} as const

const flopsPerCycle = 32

export interface WeightGradCut {
  /**
   * x is copied as it lies, but with zeros before and behind each line, so that the taps along the last dimension are
   * neighbours of one another: they count as channels.
   */
  readonly merged: boolean
  /** Rows of tiles are channels of y, and columns those of x; else the other way round. */
  readonly swapped: boolean
  /** Sizes of x's spatial dimensions in the copy. */
  readonly copied: readonly number[]
  /** Kernel sizes of the taps that have tiles of their own. */
  readonly kernel: readonly number[]
  readonly rows: number
  readonly columns: number
  /** Tiles along the rows; they have `tileRows` rows or one less, the last one has `tileRows`. */
  readonly rowTiles: number
  readonly tileRows: number
  /** Of four columns each, in a tile. */
  readonly vectors: number
  readonly panels: number
  /** Positions in a block. Blocks end where a stretch does. */
  readonly block: number
  readonly stretch: number
  /** Most positions of the copy that a block needs. */
  readonly reach: number
  /** Tiles in a pass. */
  readonly pass: number
  readonly callFlops: number
}

/** Blocks are whole images, which then all have the same lists, or whole lines of one, or parts of a line. */
function blocks({ batch, kernel, output }: ConvDescriptor): Pick<WeightGradCut, 'block' | 'stretch'> {
  const [image, line, taps] = [product(output), output.at(-1) ?? 1, product(kernel)]
  const positions = kernel.at(-1) === taps ? most.positions : Math.max(most.positions, Math.min(most.linePositions, most.lines * line))
  const limit = Math.max(1, Math.min(positions, Math.floor(most.listBytes / (entryBytes * Math.max(1, taps)))))
  if (batch * image === 0) return { block: 1, stretch: 1 }
  if (image <= limit) return { block: image * share(batch, Math.floor(limit / image)), stretch: batch * image }
  return line <= limit ? { block: line * share(image / line, Math.floor(limit / line)), stretch: image } : { block: share(line, limit), stretch: line }
}

/** Positions from the first to the last that a block of the output reads. */
function reachOf(d: ConvDescriptor, copied: readonly number[], block: number): number {
  const [image, plane] = [product(d.output), product(d.output.slice(1))]
  if (block > image) return (block / image) * product(copied)
  // A block that is no whole planes may begin in the middle of one.
  const planes = Math.min(block % plane === 0 ? block / plane : Math.ceil((block - 1) / plane) + 1, d.output[0] ?? 1)
  const span = (planes - 1) * (d.stride[0] ?? 1) + ((d.kernel[0] ?? 1) - 1) * (d.dilation[0] ?? 1) + 1
  return Math.min(span, copied[0] ?? 1) * product(copied.slice(1))
}

export function cutWeightGrad(d: ConvDescriptor, wide: boolean): WeightGradCut {
  const [inChannels, outChannels, line] = [d.inChannels / d.groups, d.outChannels / d.groups, d.kernel.length - 1]
  const widest = wide ? 4 : 2
  const swapped = outChannels * Math.ceil(inChannels / (4 * widest)) < inChannels * Math.ceil(outChannels / (4 * widest))
  const lineTaps = d.kernel[line] ?? 1
  const merged = !swapped && inChannels <= most.merged && (lineTaps === 1 || d.dilation[line] === 1)
  const kernel = merged ? d.kernel.with(line, 1) : d.kernel
  const copied = merged ? d.input.with(line, ((d.output[line] ?? 1) - 1) * (d.stride[line] ?? 1) + lineTaps) : d.input
  const [rows, columns] = swapped ? [outChannels, inChannels] : [merged ? lineTaps * inChannels : inChannels, outChannels]
  const rowTiles = Math.ceil(rows / most.rows)
  const tileRows = Math.max(1, Math.ceil(rows / Math.max(1, rowTiles)))
  const vectors = columns <= 4 ? 1 : columns <= 8 ? 2 : widest
  const panels = Math.ceil(columns / (4 * vectors))
  const taps = product(kernel)
  const { block, stretch } = blocks(d)
  const tilesOfRow = Math.max(1, panels * taps)
  // Cycles a position: every call copies all columns, and makes the lists unless they are those of the first block.
  const repeated = 8 + 3 * panels + (stretch > product(d.output) ? 0 : 2 * taps)
  return {
    merged, swapped, copied, kernel, rows, columns, rowTiles, tileRows, vectors, panels, block, stretch,
    reach: reachOf(d, copied, block) + (merged ? lineTaps - 1 : 0),
    pass: tilesOfRow * Math.min(rowTiles, Math.max(1, Math.floor(most.tiles / tilesOfRow))),
    callFlops: flopsPerCycle * repeated * d.batch * product(d.output),
  }
}
