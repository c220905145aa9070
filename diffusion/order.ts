/** The order in which examples are shown: epoch after epoch, each a permutation of its own; known at every position. */
import { philoxStream } from '../kernels/ir/philox.ts'
import { ConfigError } from '../engine/index.ts'
import type { RandomGenerator } from '../engine/index.ts'
import { at } from '../engine/shape.ts'

export class DataOrder {
  readonly size: number
  readonly #generator: RandomGenerator
  #epoch = -1
  #permutation: Int32Array<ArrayBuffer> = new Int32Array()

  /** Draws from children of the generator, one an epoch, and leaves its own stream alone. Throws ConfigError for an empty data set. */
  constructor(size: number, generator: RandomGenerator) {
    if (!(Number.isInteger(size) && size > 0)) throw new ConfigError(`DataOrder: a data set of ${size} examples has no order; pass at least one example`)
    this.size = size
    this.#generator = generator
  }

  /** Examples number `from` … `from + count − 1` of the endless sequence: indices below `size`. */
  take(from: number, count: number): Int32Array<ArrayBuffer> {
    return Int32Array.from({ length: count }, (_, i) => {
      const epoch = Math.floor((from + i) / this.size)
      if (epoch !== this.#epoch) this.#shuffle(epoch)
      return at(this.#permutation, (from + i) % this.size)
    })
  }

  /** Durstenfeld's shuffle (Knuth, The Art of Computer Programming, algorithm 3.4.2P). */
  #shuffle(epoch: number): void {
    const { key, counter } = this.#generator.fork(epoch).state()
    const words = new Uint32Array(this.size)
    philoxStream(key, counter, words)
    const order = Int32Array.from(words, (_, i) => i)
    for (let i = this.size - 1; i > 0; i--) {
      const j = Math.floor((at(words, i) / 2 ** 32) * (i + 1))
      const held = at(order, i)
      order[i] = at(order, j)
      order[j] = held
    }
    this.#epoch = epoch
    this.#permutation = order
  }
}
