/** Files that people mistake for safetensors, known by how they begin, and what to do with each. */

const pickle = 'a file of torch.save (.pt, .pth, .ckpt, .bin), which runs code when it is read and is not read here; in Python, load its state dict and write it with safetensors.torch.save_file'

const beginnings: readonly (readonly [beginnings: readonly string[], what: string])[] = [
  [['PK\x03\x04', 'PK\x05\x06'], `a zip archive, probably ${pickle}`],
  [['\x80\x02', '\x80\x03', '\x80\x04', '\x80\x05'], `a pickle, probably ${pickle}`],
  [['GGUF', 'lmgg', 'fmgg', 'tjgg'], 'a GGUF or GGML file; take the original weights as safetensors, or convert it to them'],
  [['version https://'], 'a Git LFS pointer, not the file itself; fetch it with git lfs pull'],
  [['<!', '<html', '<?xml'], 'a web page, not the file; check the address, which should lead to the file itself (…/resolve/main/…)'],
  [['\x89HDF'], 'an HDF5 file; convert it to safetensors'],
  [['\x93NUMPY'], 'a NumPy array; store it with safetensors.numpy.save_file'],
  [['{"', '{ ', '{\n', '{\r', '{}', '['], 'JSON; for a sharded checkpoint pass its folder, or a list of the index and its shards'],
]

/** What a file is that begins with these bytes, if not safetensors, whose header begins with a brace at byte 8. */
export function foreignFile(start: Uint8Array): string | undefined {
  if (start[8] === 0x7b) return undefined
  const text = String.fromCharCode(...start)
  return beginnings.find(([list]) => list.some((beginning) => text.startsWith(beginning)))?.[1]
}
