"""Reference flows of well-known feeders, by pandapower (BSD): writes reference.json beside it.

Not run by the tests, and pandapower is no dependency: ``pip install pandapower==3.5.6`` in an
environment of its own, then ``python tests/market/grid/make_reference.py``.

Impedances are rounded to µΩ and loads to W *before* pandapower solves, and line capacitance and
transformers are left out, as the model has none; so both solve exactly the same problem.
"""

# mypy: ignore-errors
import json
from pathlib import Path

import pandapower
import pandapower.networks as networks
import pandapower.topology as topology


def feeder(net, slack, *, load=1.0, sun=None):
    """A copy of what lines join to ``slack``, with the integers both solvers get."""
    graph = topology.create_nxgraph(net, include_trafos=False, respect_switches=False)
    around = sorted(topology.connected_component(graph, slack))
    base_kv = float(net.bus.vn_kv.at[slack])
    place = {bus: i for i, bus in enumerate(around)}
    buses = [[i, 0, 0] for i in range(len(around))]
    for entry in net.load.itertuples():
        if entry.bus in place and entry.in_service:
            buses[place[entry.bus]][1] += round(entry.p_mw * entry.scaling * load * 1e6)
            buses[place[entry.bus]][2] += round(entry.q_mvar * entry.scaling * load * 1e6)
    for bus, watt in (sun or {}).items():
        buses[place[bus]][1] -= watt
    lines = []
    for entry in net.line.itertuples():
        if entry.from_bus in place:
            share = entry.length_km / entry.parallel * 1e6
            r, x = round(entry.r_ohm_per_km * share), round(entry.x_ohm_per_km * share)
            lines.append(
                [place[entry.from_bus], place[entry.to_bus], r, x, not bool(entry.in_service)]
            )
    return {"slack": place[slack], "base_v": round(base_kv * 1e3), "buses": buses, "lines": lines}


def solve(model):
    """The same integers in a fresh pandapower net, solved by Newton–Raphson."""
    net = pandapower.create_empty_network(sn_mva=1.0)
    for _ in model["buses"]:
        pandapower.create_bus(net, vn_kv=model["base_v"] / 1e3)
    pandapower.create_ext_grid(net, model["slack"], vm_pu=1.0)
    for i, load_w, load_var in model["buses"]:
        pandapower.create_load(net, i, p_mw=load_w / 1e6, q_mvar=load_var / 1e6)
    for start, end, r, x, is_open in model["lines"]:
        pandapower.create_line_from_parameters(
            net, start, end, length_km=1.0, r_ohm_per_km=r / 1e6, x_ohm_per_km=x / 1e6,
            c_nf_per_km=0.0, max_i_ka=1.0, in_service=not is_open,
        )  # fmt: skip
    pandapower.runpp(net, algorithm="nr", tolerance_mva=1e-11, max_iteration=50)
    # What stays inside a line's from-end and to-end, in W and var; open lines carry nothing.
    ends = net.res_line[["p_from_mw", "q_from_mvar", "p_to_mw", "q_to_mvar"]].fillna(0.0) * 1e6
    return {
        "vm_pu": [round(float(v), 12) for v in net.res_bus.vm_pu],
        "ends_w_var": [[round(float(x), 4) for x in row] for row in ends.to_numpy()],
    }


def main():
    """Solve them all."""
    case33 = networks.case33bw()
    village = networks.create_kerber_dorfnetz()
    land = networks.create_kerber_landnetz_freileitung_1()
    homes = networks.create_cigre_network_lv()

    def named(net, name):
        return int(net.bus.index[net.bus.name == name][0])

    def busbar(net):
        return int(net.trafo.lv_bus.iloc[0])

    noon = {17: 2_000_000, 32: 1_500_000, 24: 1_000_000}
    models = {
        "case33bw": feeder(case33, 0),
        "case33bw, loads times 1.8": feeder(case33, 0, load=1.8),
        "case33bw, sun at three ends": feeder(case33, 0, sun=noon),
        "Kerber Landnetz Freileitung 1": feeder(land, busbar(land)),
        "Kerber Dorfnetz": feeder(village, busbar(village)),
        "CIGRE LV residential": feeder(homes, named(homes, "Bus R1"), load=0.5),
    }
    found = {
        "made_by": f"tests/market/grid/make_reference.py with pandapower {pandapower.__version__}",
        "feeders": {name: model | solve(model) for name, model in models.items()},
    }
    path = Path(__file__).with_name("reference.json")
    path.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
