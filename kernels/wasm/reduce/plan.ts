/** A reduction as `reduce.ts` plans it, for what writes its code. */
import type { ReduceOp } from '../../ir/descriptor.ts'
import type { Expression, ScalarType } from '../../ir/expression.ts'
import type { Arguments } from '../core/arguments.ts'
import type { Local } from '../core/assembler.ts'
import type { PassedAxis } from '../core/loops.ts'
import type { ScratchAreas } from '../core/scratch.ts'
import type { PlannedOperand } from '../core/vectorOperand.ts'

export interface ReducePlan {
  readonly args: Arguments
  readonly op: ReduceOp
  readonly type: ScalarType
  readonly element: Expression
  readonly values: readonly Expression[]
  /** Vectors of a bundle. */
  readonly width: number
  /** The inputs as the element reads them; for each, whether it is known once a launch (0), outside the vectorised axis (in rows, outside all reduced axes) (1) or varies. */
  readonly inputs: readonly PlannedOperand[]
  readonly levels: readonly number[]
  /** The inputs as the epilogue reads them, at reduced position 0, and the outputs. */
  readonly epilogue: readonly PlannedOperand[]
  /** Kept axes and reduced axes that are not vectorised, and the axis that is. */
  readonly kept: readonly PassedAxis[]
  readonly reduced: readonly PassedAxis[]
  readonly lane: PassedAxis
  /** How many positions `reduced` has. */
  readonly rounds: Local
  /** Elements of the vectorised axis an item does, and items along it; columns only. */
  readonly chunk: Local
  readonly chunks: Local
  readonly parts: Parts | undefined
  readonly scratch: ScratchAreas
  /** Scratch for the accumulators: of rows, a bundle; of columns, a chunk each for a block's sums, totals and what was lost. */
  readonly areas: readonly Local[]
}

export interface Parts {
  /** The parts as an axis of the items, innermost but for the chunks. */
  readonly axis: PassedAxis
  /** What a part folds: so many rounds, and so much of a vectorised reduced axis, each from the part's number times a step on. */
  readonly rounds: Local
  readonly roundStep: Local
  readonly lane: Local
  readonly laneStep: Local
}
