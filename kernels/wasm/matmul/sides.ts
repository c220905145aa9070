/** Where the rows and the columns of a product's output lie in memory. */
import { i32, type Local } from '../core/assembler.ts'
import type { Side } from './gemm.ts'

/** The side of an output whose positions lie `step` bytes apart. */
export function evenSide(first: Local, step: Local, adjacent: boolean): Side {
  return {
    offset: (position) => i32.mul(i32.add(first, position), step),
    adjacent: () => i32.const(adjacent ? 1 : 0),
  }
}
