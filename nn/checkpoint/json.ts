/** JSON from files that may be damaged: no repeated keys, no surprises in messages. */

/** The object that UTF-8 JSON is; `what` names it in failures. */
export function parseJson(bytes: Uint8Array<ArrayBuffer>, what: string, fail: (why: string) => never): Record<string, unknown> {
  const text = decodeText(bytes) ?? fail(`${what} is not UTF-8`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return fail(`${what} is not JSON`)
  }
  if (!isRecord(value) || !text.startsWith('{')) return fail(`${what} is not a JSON object`)
  const key = repeatedKey(text)
  return key === undefined ? value : fail(`${what} has the key ${key} twice`)
}

function decodeText(bytes: Uint8Array<ArrayBuffer>): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** A key that an object of valid JSON has twice; `JSON.parse` keeps the last, and other readers another. */
function repeatedKey(json: string): string | undefined {
  const open: Set<string>[] = []
  for (let i = 0; i < json.length; i++) {
    const c = json[i]
    if (c === '{' || c === '[') open.push(new Set())
    else if (c === '}' || c === ']') open.pop()
    else if (c === '"') {
      const start = i
      for (i++; json[i] !== '"'; i++) if (json[i] === '\\') i++
      const end = i + 1
      while (' \t\n\r'.includes(json[i + 1] ?? ':')) i++
      if (json[i + 1] !== ':') continue
      const key = String(JSON.parse(json.slice(start, end)))
      if (open.at(-1)?.has(key) === true) return key
      open.at(-1)?.add(key)
    }
  }
  return undefined
}

export function isRecord(x: unknown): x is Record<string, unknown> {
  return typeof x === 'object' && x !== null && !Array.isArray(x)
}

/** Whether it maps text to text, all of which UTF-8 can hold: half of a surrogate pair it cannot. */
export function isTexts(x: Record<string, unknown>): x is Record<string, string> {
  return Object.entries(x).every(([key, v]) => typeof v === 'string' && key.isWellFormed() && v.isWellFormed())
}

/** A value for a message, in a few characters: a damaged file can hold any. */
export function show(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  const flat = Array.isArray(value) ? value.every((x) => typeof x !== 'object') : typeof value !== 'object'
  const text = flat ? JSON.stringify(value) : 'a nested value'
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
