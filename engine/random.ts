/**
 * Random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), the same bits on
 * every device. A generator is a key and a counter on the host; a draw reads both as data and moves the counter on, so
 * that drawing again compiles nothing. The draws themselves are in `ops/random.ts`.
 */
import { philox4x32 } from '../kernels/ir/philox.ts'
import type { Words2 } from '../kernels/ir/philox.ts'
import { ConfigError } from './error.ts'

/** Where a generator stands: plain data, for checkpoints. */
export interface RandomGeneratorState {
  /** Low word, high word. */
  readonly key: Words2
  /** Low word, high word; counts blocks of four words. */
  readonly counter: Words2
}

/** Draws have 0 in the upper half of Philox's counter; children's keys are drawn where it is this, so the two never meet. */
const forkDomain: Words2 = [0x6b726f66, 1]

/**
 * A stream of random numbers. The key is the seed, so seeds that differ give unrelated streams; 2⁶⁴ blocks of four words
 * pass before one repeats.
 *
 * Throws ConfigError for a seed that is not an integer of 64 bits.
 */
export class RandomGenerator {
  private key: Words2
  private counter = 0n

  constructor(seed: number | bigint) {
    this.key = words('seed', seed)
  }

  /** Where the next draw starts. */
  state(): RandomGeneratorState {
    return { key: this.key, counter: split64(this.counter) }
  }

  /** Goes on from a state that `state()` gave. */
  restore({ key, counter }: RandomGeneratorState): void {
    for (const word of [...key, ...counter]) {
      if (!Number.isInteger(word) || word < 0 || word > 0xffffffff) throw new ConfigError(`Generator.restore: ${word} is not a 32-bit word of a state; pass what state() returned`)
    }
    this.key = [key[0], key[1]]
    this.counter = (BigInt(counter[1]) << 32n) | BigInt(counter[0])
  }

  /**
   * The child with this number: a generator of its own key, unrelated to this one's stream and to its other children's.
   * It depends on the key and the number alone, not on what was drawn: the same number gives the same child.
   */
  fork(child: number | bigint): RandomGenerator {
    const [low, high] = words('child', child)
    const [k0, k1] = philox4x32([low, high, ...forkDomain], this.key)
    const forked = new RandomGenerator(0)
    forked.key = [k0, k1]
    return forked
  }

  /** Children 0 to count − 1. */
  split(count: number): RandomGenerator[] {
    return Array.from({ length: count }, (_, i) => this.fork(i))
  }

  /** Takes the next `count` words out of the stream, in blocks of four; returns where they start. */
  take(count: number): RandomGeneratorState {
    const start = this.state()
    this.counter = BigInt.asUintN(64, this.counter + BigInt(Math.ceil(count / 4)))
    return start
  }
}

function words(what: string, value: number | bigint): Words2 {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new ConfigError(`Generator: ${what} ${value} is not an integer that a number holds exactly; use one up to 2⁵³, or a bigint`)
  const whole = BigInt(value)
  if (whole < -(2n ** 63n) || whole >= 2n ** 64n) throw new ConfigError(`Generator: ${what} ${whole} has more than 64 bits; use a smaller one`)
  return split64(BigInt.asUintN(64, whole))
}

const split64 = (x: bigint): Words2 => [Number(x & 0xffffffffn), Number(x >> 32n)]
