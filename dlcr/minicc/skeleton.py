"""The skeleton of a walking person: joints in metres, x to the person's left, y up, z forwards."""

import numpy as np

from dlcr.minicc.people import Person
from dlcr.minicc.scenes import Pose

ANKLE = 0.042
"""Height of the ankle joint / height of the person."""


def _leg(person: Person, hip: np.ndarray, phase: float, effort: float, side: int) -> dict[str, np.ndarray]:
    """Knee, ankle, heel and toe of the leg at `hip`; side is 1 (left) or -1."""
    length = person.height * (person.leg_ratio - ANKLE)
    swing = person.stride * effort * np.sin(phase) + 0.06
    bend = 0.06 + 2.0 * person.stride * effort * max(0.0, np.cos(phase)) ** 1.5 * (1.1 - 0.5 * np.sin(phase))
    inwards = -side * (1 - person.knee_gap) * 0.05
    knee = hip + 0.52 * length * np.array([inwards, -np.cos(swing), np.sin(swing)])
    shin = swing - bend
    ankle = knee + 0.48 * length * np.array([inwards, -np.cos(shin), np.sin(shin)])
    pitch = 0.75 * min(shin, 0.0) + 0.35 * max(shin, 0.0)
    forwards = np.array([side * 0.14, np.sin(pitch), np.cos(pitch)])
    down = np.array([0.0, -np.cos(pitch), np.sin(pitch)])
    sole = ankle + down * person.height * ANKLE * 0.45
    return {
        "knee": knee,
        "ankle": ankle,
        "heel": sole - forwards * 0.022 * person.height,
        "toe": sole + forwards * 0.100 * person.height,
    }


def _arm(person: Person, shoulder: np.ndarray, phase: float, effort: float, side: int) -> dict[str, np.ndarray]:
    """Elbow, wrist and finger tips of the arm at `shoulder`; arms swing against the legs."""
    length = person.height * person.arm_ratio
    swing = -person.arm_swing * effort * np.sin(phase)
    out = side * (0.10 + 0.16 * (person.build - 0.75))
    elbow = shoulder + 0.52 * length * np.array([out, -np.cos(swing), np.sin(swing)])
    bend = swing + 0.18 + 0.7 * person.arm_swing * effort * (1 + np.sin(-phase)) / 2
    along = np.array([out * 0.3, -np.cos(bend), np.sin(bend)])
    wrist = elbow + 0.48 * length * along
    return {"elbow": elbow, "wrist": wrist, "fingers": wrist + 0.055 * person.height * along}


def joints(person: Person, pose: Pose) -> dict[str, np.ndarray]:
    """Joint positions by name, float64[3]; limbs end in _left or _right; the lowest foot is at y = 0."""
    height = person.height
    pelvis = np.array([0.0, height * person.leg_ratio, 0.0])
    trunk = height * (1 - person.head - 0.040 - person.leg_ratio)
    lean = person.lean * (0.4 + 0.6 * pose.effort)
    up = np.array([0.0, np.cos(lean), np.sin(lean)])
    collar = pelvis + trunk * up
    nod = lean * 0.5 + person.stoop * 2
    head = (
        collar + np.array([0, 0.040 * height, 0]) + person.head * height * 0.5 * np.array([0, np.cos(nod), np.sin(nod)])
    )
    found = {"pelvis": pelvis, "collar": collar, "head": head, "up": up}
    twist = 0.20 * person.arm_swing * pose.effort * np.sin(pose.phase)
    for name, side in (("left", 1), ("right", -1)):
        phase = pose.phase + (0 if side > 0 else np.pi)
        hip = pelvis + np.array([side * person.hip * (0.40 + 0.16 * person.knee_gap), 0, 0])
        leg = _leg(person, hip, phase, pose.effort, side)
        shoulder = collar - up * 0.050 * height
        shoulder = shoulder + side * person.shoulder * np.array([np.cos(twist), 0, -np.sin(twist)])
        arm = _arm(person, shoulder, phase, pose.effort, side)
        found |= {f"{key}_{name}": place for key, place in ({"hip": hip, "shoulder": shoulder} | leg | arm).items()}
    lowest = min(found[f"{end}_{name}"][1] for end in ("heel", "toe") for name in ("left", "right"))
    lift = np.array([0, 0.023 * height - lowest, 0])
    return {name: place if name == "up" else place + lift for name, place in found.items()}
