/** Products that are added up: what the register tiles are made of. */
import { type Code, f32x4, type Local, set } from './assembler.ts'

/** x·y + z; one rounding with relaxed SIMD where the processor has it, else two. */
export const multiplyAdd = (relaxed: boolean, x: Code, y: Code, z: Code): Code => (relaxed ? f32x4.relaxedMadd(x, y, z) : f32x4.add(f32x4.mul(x, y), z))

/** sums[r][v] += element r · vector v: vectors are loaded once, elements broadcast one after the other. */
export function outerProduct(relaxed: boolean, sums: readonly (readonly Local[])[], vectors: readonly Local[], element: Local, vector: (v: number) => Code, broadcast: (r: number) => Code): Code {
  return [
    vectors.map((local, v) => set(local, vector(v))),
    sums.map((row, r) => [set(element, broadcast(r)), row.map((sum, v) => set(sum, multiplyAdd(relaxed, element, vectors[v] ?? element, sum)))]),
  ]
}
