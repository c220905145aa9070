/** What random expressions for this device may have: of floats, only what no device rounds otherwise or contracts. */
import { exactBinaries, exactUnaries } from '../edges.ts'
import type { Operations } from '../random.ts'

export const operations: Operations = {
  binaries: { ...exactBinaries, f32: ['add', 'sub', 'min', 'max', 'eq', 'ne', 'lt', 'le'] },
  unaries: { ...exactUnaries, f32: ['neg', 'abs', 'sign', 'floor', 'ceil', 'round', 'trunc', 'half'] },
}
