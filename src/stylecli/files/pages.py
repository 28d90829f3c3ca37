"""Pages in HTML: one file each, with all pictures inside."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_html(template: str, **values: object) -> str:
    """A page, from a template of this package.

    Args:
        template: the name of the template, such as ``sheet``.
        values: of the names in it; texts are escaped.
    """
    loader = PackageLoader("stylecli", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template(f"{template}.html.jinja").render(values)
