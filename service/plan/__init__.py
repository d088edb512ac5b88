"""From a specification to a plan: what will be drawn, tensor by tensor, before anything is drawn."""

from service.plan.parameter import Parameter
from service.plan.planner import Outline, make_outline, make_plan
from service.plan.tensors import Plan, TensorPlan, drawn_by

__all__ = ["Outline", "Parameter", "Plan", "TensorPlan", "drawn_by", "make_outline", "make_plan"]
