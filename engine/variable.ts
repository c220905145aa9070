/**
 * A variable is a named cell that owns its storage for life; no two cells and no output share memory.
 * `assign` moves the cell to a new node; reading records the cell and its version.
 */
import { leafOf, tensor } from './create.ts'
import type { CreateOptions, HostData } from './create.ts'
import type { Device } from './device/device.ts'
import type { DType } from './dtype.ts'
import { DTypeError, DeviceError, ShapeError, refuseOthers } from './error.ts'
import { finished } from './finished.ts'
import { Tensor } from './graph.ts'
import type { Spec, TensorLike } from './graph.ts'
import { formatShape, sameShape } from './shape.ts'
import type { Shape } from './shape.ts'
import { Storage } from './storage.ts'

/** What moves variables to new versions: a run, or a write of host data. */
export interface Writer {
  /** Why it failed, once it has. */
  readonly error: Error | undefined
  readonly succeeded: boolean
  /** Takes back the move of a variable that it did not get to write. */
  undo(cell: Variable): void
}

export class Variable implements TensorLike {
  readonly name: string
  readonly shape: Shape
  readonly dtype: DType
  readonly device: Device
  readonly storage: Storage
  /** One bit, which the nodes computed from the variable carry. Bits are shared once a device has more than 31 variables. */
  readonly mark: number
  /** Whether optimisers move it; a frozen variable can still be read and loaded. */
  trainable = true
  /** The value that the cell holds once everything queued has run. */
  now: Version
  /** A number that walks over the graph note on it. */
  note = 0
  /** Where it stands among the variables that were assigned; -1 while it is not one. */
  place = -1
  /** A number for its shape and type, the same in all keys of plans, once it has one. */
  kind = -1
  /** Set when a run failed halfway through writing the cell. */
  poison: Error | undefined
  private pending: Tensor | undefined
  private substitute: Tensor | undefined
  private versions = 0
  private readonly specs: readonly Spec[]

  constructor(initial: Tensor, name: string) {
    this.name = name
    this.shape = initial.shape
    this.dtype = initial.dtype
    this.device = initial.device
    this.specs = [{ shape: this.shape, dtype: this.dtype }]
    this.now = new Version(this, 0, undefined)
    this.mark = 1 << this.device.nextVariable() % 31
    this.storage = new Storage(this.device, initial, `variable ${name || '(unnamed)'}`)
    this.assign(initial)
  }

  /** The value as a tensor: the assigned node, or the cell at its present version. */
  read(): Tensor {
    if (this.substitute !== undefined) return this.substitute
    if (this.pending !== undefined) return this.pending
    this.assertHeld('read')
    if (this.poison !== undefined) throw new DeviceError(`variable ${this.name}: a run failed while writing it (${this.poison.message}); assign or load it again before reading`)
    this.now.tensor ??= leafOf(this.device, this.now, this.specs)
    return this.now.tensor
  }

  /** Moves the cell to `value`, computed with the next realisation. Assigns in one realisation are simultaneous. */
  assign(value: TensorLike): void {
    const next = value.read()
    this.assertHeld('assign')
    if (next.device !== this.device) throw new DeviceError(`assign: variable ${this.name} lives on ${this.device.nameBeside(next.device)} but the value on ${next.device.nameBeside(this.device)}; move it with .to(device)`)
    if (!sameShape(next.shape, this.shape)) throw new ShapeError(`assign: variable ${this.name} has shape ${formatShape(this.shape)} but the value has ${formatShape(next.shape)}; reshape or expand the value`)
    if (next.dtype !== this.dtype) throw new DTypeError(`assign: variable ${this.name} is ${this.dtype} but the value is ${next.dtype}; cast the value`)
    if (next.leaf === this.now) {
      this.drop()
      return
    }
    this.pending = next
    this.device.moved.add(this)
  }

  /** Reads `value` instead of the cell while `fn` runs. Throws ConfigError where `fn` would run on later. */
  with<T>(value: TensorLike, fn: () => T): T {
    const outer = this.substitute
    if (!sameShape(value.shape, this.shape)) throw new ShapeError(`withValues: variable ${this.name} has shape ${formatShape(this.shape)} but its substitute has ${formatShape(value.shape)}`)
    if (value.dtype !== this.dtype) throw new DTypeError(`withValues: variable ${this.name} is ${this.dtype} but its substitute is ${value.dtype}; cast the substitute`)
    this.substitute = value.read()
    try {
      return finished('withValues', fn())
    } finally {
      this.substitute = outer
    }
  }

  /** The assigned tensor that is yet to be computed. */
  get move(): Tensor | undefined {
    return this.pending
  }

  /**
   * Frees the memory once everything queued has run; what was assigned is forgotten. Using the variable afterwards is an
   * error, as is realising what reads it.
   */
  dispose(): void {
    if (this.storage.disposed) return
    this.storage.disposed = true
    this.drop()
    this.device.enqueue(async () => this.device.release(this.storage)).catch(() => undefined)
  }

  /** Throws DeviceError once the variable is disposed of. */
  assertHeld(op: string): void {
    if (this.storage.disposed) throw new DeviceError(`${op}: variable ${this.name || formatShape(this.shape)} was disposed of; make another`)
  }

  /** The queue takes the assigned value over: from here on the cell is at a new version. Returns the one before. */
  commit(run: Writer): Version {
    const before = this.now
    this.drop()
    this.now = new Version(this, ++this.versions, run)
    return before
  }

  /** Forgets the assigned value. */
  drop(): void {
    this.pending = undefined
    this.device.moved.delete(this)
  }

  /** Goes back to the version before a commit whose run failed, unless the cell has moved on. */
  undo(run: Writer, before: Version): void {
    if (this.now.run !== run) return
    this.now = before
    // A run before this one failed too, and could not go back while this one's value stood.
    if (before.run?.error !== undefined) before.run.undo(this)
    if (this.now.number === 0) this.poison = run.error // It never had a value to go back to.
  }
}

/** One value of a variable, as the graph's leaves name it. There are many at every step, so it is all that is made for one. */
export class Version {
  readonly kind = 'cell'
  readonly cell: Variable
  readonly number: number
  /** The run that writes it, or wrote it. */
  readonly run: Writer | undefined
  /** The leaf that reads it, once there is one. */
  tensor: Tensor | undefined

  constructor(cell: Variable, number: number, run: Writer | undefined) {
    this.cell = cell
    this.number = number
    this.run = run
  }

  /** The run that writes it, until it has succeeded. */
  get producer(): Writer | undefined {
    return this.run?.succeeded === true ? undefined : this.run
  }
}

export const isTensorLike = (x: unknown): x is TensorLike => x instanceof Tensor || x instanceof Variable

export interface VariableOptions extends CreateOptions {
  readonly name?: string
  /** Default true. */
  readonly trainable?: boolean
}

/** A variable that starts at `initial`, a tensor or host data. */
export function variable(initial: TensorLike | HostData, { name = '', trainable = true, ...options }: VariableOptions = {}): Variable {
  const { dtype: _, device: __, ...others } = options
  refuseOthers('variable', others)
  const value = isTensorLike(initial) ? initial.read() : tensor(initial, null, options)
  const cell = new Variable(value, name)
  cell.trainable = trainable
  return cell
}

/**
 * Runs `fn` with other values in the place of variables: no copy, the same plan (evaluation with EMA weights). `fn` builds
 * tensors and returns them; ConfigError where it returns what runs later, a promise or a generator: of a sampler, wrap the denoiser.
 */
export function withValues<T>(values: ReadonlyMap<Variable, TensorLike>, fn: () => T): T {
  return [...values].reduceRight<() => T>((inner, [cell, value]) => () => cell.with(value, inner), () => finished('withValues', fn()))()
}
