/** The errors users meet. Each is thrown before any device work and says what, both values, and what to do. */

/** Shapes, axes or sizes that do not fit together. */
export class ShapeError extends Error {
  override readonly name = 'ShapeError'
}

/** A dtype that an operation, a device or a file does not take. */
export class DTypeError extends Error {
  override readonly name = 'DTypeError'
}

/** A device that is missing, closed, mixed with another, out of memory, or that failed in a run. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError'
}

/** A gradient that does not exist: a loss that is not a scalar, a variable that was not reached. */
export class GradientError extends Error {
  override readonly name = 'GradientError'
}

/** A tensor that reads a variable whose value has since been overwritten, or a disposed tensor. */
export class StaleReadError extends Error {
  override readonly name = 'StaleReadError'
}

/** A checkpoint that is damaged, foreign, or does not fit the model. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError'
}

/** Options that contradict each other or lie outside their range. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** Throws ConfigError unless `word` is one that the option may have; `or` names what else it takes. */
export function checkWord(op: string, option: string, word: string, words: readonly string[], or = ''): void {
  if (!words.includes(word)) throw new ConfigError(`${op}: ${option} is "${word}"; use ${words.slice(0, -1).join(', ')} or ${String(words.at(-1))}${or}`)
}

/** Throws ConfigError if there are options that `op` did not take, which would be ignored. By its type, `others` is what is left of options of which none was forgotten. */
export function refuseOthers(op: string, others: Readonly<Record<string, never>>): void {
  for (const name in others) throw new ConfigError(`${op}: has no option "${name}"; check its spelling`)
}
