/** The handwritten digits that come with the package: 1797 grey images of 8x8 (data/digits/README.md). */
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { CheckpointError } from '../engine/index.ts'
import { sizeOf } from '../engine/shape.ts'
import { readFile } from './files.ts'

export interface Images {
  readonly name: string
  /** [N, C, H, W]. */
  readonly shape: readonly [number, number, number, number]
  /** Values in [-1, 1]. */
  readonly values: Float32Array<ArrayBuffer>
  /** Tells one data set from another: a resumed run must see the one it began with. */
  readonly digest: string
}

/** Pixels 0 … 16 become x = pixel/8 − 1. Throws FileError without the file, CheckpointError for one of another size. */
export function loadDigits(): Images {
  const file = fileURLToPath(new URL('data/digits/images.u8', import.meta.resolve('langevin/package.json')))
  const pixels = readFile(file)
  const shape = [1797, 1, 8, 8] as const
  if (pixels.length !== sizeOf(shape)) throw new CheckpointError(`${file} has ${pixels.length} bytes instead of ${sizeOf(shape)}; install the package again`)
  return { name: 'digits', shape, values: Float32Array.from(pixels, (p) => p / 8 - 1), digest: createHash('sha256').update(pixels).digest('hex').slice(0, 16) }
}
