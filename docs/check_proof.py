"""Check a proof offline: python check_proof.py PROOF.json ROOT ROWS [ROW.json]. Needs nothing but Python."""

import hashlib, json, sys  # noqa: E401, I001


def climb(leaf: str, place: int, count: int, path: list) -> str:
    node, neighbours = hashlib.sha256(b"\0" + bytes.fromhex(leaf)).digest(), iter(path)
    while count > 1:
        if place ^ 1 < count:
            other = bytes.fromhex(next(neighbours))
            node = hashlib.sha256(b"\1" + (other + node if place % 2 else node + other)).digest()
        place, count = place // 2, (count + 1) // 2
    return node.hex()


with open(sys.argv[1], encoding="utf-8") as file:
    proof, root, count = json.load(file), sys.argv[2], int(sys.argv[3])  # root and rows as they were published
wanted, before, after = proof["content_hash"], proof.get("before"), proof.get("after")
if proof["kind"] == "inclusion":
    good = climb(wanted, proof["position"], count, proof["path"]) == root
else:  # two neighbours in ascending order, one below and one above, leave no place for it
    good = all(climb(s["content_hash"], s["position"], count, s["path"]) == root for s in (before, after) if s)
    good &= before["content_hash"] < wanted if before else after["position"] == 0
    good &= wanted < after["content_hash"] if after else before["position"] == count - 1
    good &= not (before and after) or before["position"] + 1 == after["position"]
if len(sys.argv) > 4:  # the words themselves: {"messages": [{"role": …, "content": …}, …]} in canonical form
    with open(sys.argv[4], encoding="utf-8") as file:
        row = json.dumps(
            {"messages": json.load(file)["messages"]}, ensure_ascii=False, sort_keys=True, separators=(",", ":")
        )
    good &= hashlib.sha256(row.encode()).hexdigest() == wanted
found = "in" if proof["kind"] == "inclusion" else "not in"
print(f"The row is {found} the version." if good else "This proof does not hold.")
sys.exit(not good)
