/** Every op record the engine exports, by name and with its type, so that a table over them can be checked for gaps. */
import * as checkpoint from '../engine/recompute.ts'
import * as grad from '../engine/grad.ts'
import type { AnyOp } from '../engine/op.ts'
import * as arithmetic from '../engine/ops/arithmetic.ts'
import * as attention from '../engine/ops/attention.ts'
import * as conv from '../engine/ops/conv.ts'
import * as elementwise from '../engine/ops/elementwise.ts'
import * as groupNorm from '../engine/ops/groupNorm.ts'
import * as indexing from '../engine/ops/indexing.ts'
import * as iota from '../engine/ops/iota.ts'
import * as linear from '../engine/ops/linear.ts'
import * as logic from '../engine/ops/logic.ts'
import * as math from '../engine/ops/math.ts'
import * as matmul from '../engine/ops/matmul.ts'
import * as movement from '../engine/ops/movement.ts'
import * as norm from '../engine/ops/norm.ts'
import * as optimizer from '../engine/ops/optimizer.ts'
import * as random from '../engine/ops/random.ts'
import * as reduce from '../engine/ops/reduce.ts'
import * as scan from '../engine/ops/scan.ts'
import * as softmax from '../engine/ops/softmax.ts'
import * as sort from '../engine/ops/sort.ts'

/** A module's exports that are op records. */
type RecordsOf<M> = { readonly [K in keyof M as M[K] extends AnyOp ? K : never]: M[K] }

type Records = RecordsOf<typeof checkpoint> & RecordsOf<typeof grad> & RecordsOf<typeof arithmetic> & RecordsOf<typeof attention> &
  RecordsOf<typeof conv> & RecordsOf<typeof elementwise> & RecordsOf<typeof groupNorm> & RecordsOf<typeof indexing> & RecordsOf<typeof iota> & RecordsOf<typeof linear> &
  RecordsOf<typeof logic> & RecordsOf<typeof math> & RecordsOf<typeof matmul> & RecordsOf<typeof movement> & RecordsOf<typeof norm> & RecordsOf<typeof optimizer> &
  RecordsOf<typeof random> & RecordsOf<typeof reduce> & RecordsOf<typeof scan> & RecordsOf<typeof softmax> & RecordsOf<typeof sort>

export type OpName = keyof Records

/** The attributes of an op. */
export type AttributesOf<N extends OpName> = Records[N] extends { shape(inputs: infer _, attributes: infer A extends object): unknown } ? A : never

export const records: Records = {
  ...checkpoint, ...grad, ...arithmetic, ...attention, ...conv, ...elementwise, ...groupNorm, ...indexing, ...iota, ...linear,
  ...logic, ...math, ...matmul, ...movement, ...norm, ...optimizer, ...random, ...reduce, ...scan, ...softmax, ...sort,
}
