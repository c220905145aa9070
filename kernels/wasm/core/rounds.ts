/** Walks over arrays whose elements are neighbours, some vectors a round, in the end one element in lane 0. */
import { advance, type Code, i32, type Local, loopWhile, v128 } from './assembler.ts'
import type { Lanes } from './lanes.ts'

/** One round: `vectors` of each array, or one element in lane 0. */
export interface Step {
  readonly vectors: number
  readonly scalar: boolean
  /** A vector of the array of that number. */
  readonly load: (array: number, vector: number) => Code
  readonly store: (array: number, vector: number, value: Code) => Code
}

/** A round at the addresses `pointers`. */
export function stepAt(pointers: readonly Code[], vectors: number, scalar: boolean): Step {
  const at = (array: number): Code => {
    const pointer = pointers[array]
    if (pointer === undefined) throw new RangeError(`no array ${array}`)
    return pointer
  }
  return {
    vectors, scalar,
    load: (array, vector) => (scalar ? v128.load32Zero(at(array)) : v128.load(at(array), 16 * vector)),
    store: (array, vector, value) => (scalar ? v128.store32Lane(at(array), value, 0) : v128.store(at(array), value, 16 * vector)),
  }
}

/** Rounds of `vectors` vectors, or of single elements, while so many elements are `left`. */
export function rounds(lanes: Lanes, pointers: readonly Local[], left: Local, vectors: number, scalar: boolean, body: (step: Step) => Code): Code {
  const elements = scalar ? 1 : 4 * vectors
  const code = lanes.within(vectors, () => body(stepAt(pointers, vectors, scalar)))
  return loopWhile(i32.ge(left, elements), [code, pointers.map((pointer) => advance(pointer, 4 * elements)), advance(left, -elements), lanes.clear])
}
