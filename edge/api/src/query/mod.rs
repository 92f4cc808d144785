//! The query protocol that SNS and STS speak: a form in, XML out.
//!
//! Source: AWS "query protocol"; the member and entry numbering is that of the services' models.

mod form;
mod xml;

pub(crate) use form::{Form, FormError};
pub(crate) use xml::{Xml, failure};

use crate::error::ApiError;
use crate::request::Request;
use crate::response::Response;
use crate::service::Service;

/// The form of a request.
///
/// # Errors
/// Invalid request if the body is no form.
pub(crate) fn form(request: &Request) -> Result<Form, ApiError> {
    Ok(Form::parse(&request.body)?)
}

/// The answer to a request; `result` writes what is inside its result element.
pub(crate) fn answer(request: &Request, result: impl FnOnce(&mut Xml)) -> Response {
    respond(request, Some(result))
}

/// The answer to a request of an operation that has no result element.
pub(crate) fn done(request: &Request) -> Response {
    respond(request, None::<fn(&mut Xml)>)
}

fn respond<F: FnOnce(&mut Xml)>(request: &Request, result: Option<F>) -> Response {
    let namespace = namespace(request.service);
    Response::xml(xml::answer(namespace, request.operation, &request.id, result))
}

/// The XML namespace of a service's answers. Source: the service models' `xmlNamespace`.
pub(crate) const fn namespace(service: Service) -> &'static str {
    match service {
        Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        Service::Sns | Service::Iot | Service::IotData | Service::Lambda => {
            "http://sns.amazonaws.com/doc/2010-03-31/"
        }
    }
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        ApiError::invalid(error)
    }
}
